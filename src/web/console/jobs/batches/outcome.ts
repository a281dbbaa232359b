/** What was done with a batch, as the address of its page says it. */
export const batchOutcomes = ['previewed', 'started', 'stopped', 'resumed', 'undone'] as const;

export type BatchOutcome = (typeof batchOutcomes)[number];

export const batchOutcomeTexts: Readonly<Record<BatchOutcome, string>> = {
  previewed: 'Nothing has happened yet: look at the figures, then start it.',
  started: 'The batch is started; the schedulers execute it.',
  stopped: 'The batch is stopped; no further job of it is touched.',
  resumed: 'The batch goes on.',
  undone: 'What has not begun is being taken back.',
};
