/** A module of PURSER_HANDLERS, without any import, with the types of the tenants that a walk arranges. */
export const handlers = Array.from({ length: 20 }, (_, n) => ({
  type: `walked_${n + 1}`,
  timeoutMs: 1_000,
  maxAttempts: 3,
  payload: { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) } },
  run: async () => ({}),
}));
