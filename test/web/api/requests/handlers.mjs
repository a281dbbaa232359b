/** A module of PURSER_HANDLERS, without any import, whose schema wants a recipient. */
const validate = (value) =>
  typeof value?.recipient === 'string'
    ? { value }
    : { issues: [{ message: 'must be text', path: ['recipient'] }] };

export const handlers = [
  {
    type: 'report',
    timeoutMs: 1_000,
    maxAttempts: 3,
    payload: { '~standard': { version: 1, vendor: 'test', validate } },
    run: async () => ({ done: true }),
  },
];
