/** The bench's handlers: one does nothing, one says when it was called (CLOCK_MONOTONIC, one for all processes). */
export const handlers = [
  { type: 'bench_noop', timeoutMs: 60_000, maxAttempts: 3, run: async () => {} },
  {
    type: 'bench_stamp',
    timeoutMs: 60_000,
    maxAttempts: 3,
    run: async () => ({ atNs: String(process.hrtime.bigint()) }),
  },
];
