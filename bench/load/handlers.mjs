/** A job of bench:load that makes four LLM calls at once on the budget of its tenant; those that the budget refuses are counted. */
/** As in phase.ts. */
const calls = 4;

export const handlers = [
  {
    type: 'load_parallel',
    timeoutMs: 60_000,
    maxAttempts: 3,
    run: async ({ llm }) => {
      const ends = await Promise.allSettled(
        Array.from({ length: calls }, (_, part) =>
          llm.generate({
            system: 'You are a FinOps analyst.',
            prompt: `Summarise part ${part} of the costs.`,
            maxOutputTokens: 1_500,
          }),
        ),
      );
      const refused = ends.filter(
        ({ status, reason }) => status === 'rejected' && reason.code === 'budget_exceeded',
      );
      const failed = ends.find((end) => end.status === 'rejected' && !refused.includes(end));
      if (failed !== undefined) throw failed.reason;
      return { answered: ends.length - refused.length, refused: refused.length };
    },
  },
];
