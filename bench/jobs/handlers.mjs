import { setTimeout as sleep } from 'node:timers/promises';

/** Handlers of the benchmark: one does nothing, one pauses for 1 ms, one reports when it was called (CLOCK_MONOTONIC, the same clock in all processes). */
export const handlers = [
  { type: 'bench_noop', timeoutMs: 60_000, maxAttempts: 3, run: async () => {} },
  { type: 'bench_work', timeoutMs: 60_000, maxAttempts: 3, run: () => sleep(1) },
  {
    type: 'bench_stamp',
    timeoutMs: 60_000,
    maxAttempts: 3,
    run: async () => ({ atNs: String(process.hrtime.bigint()) }),
  },
  {
    // A job of bench:fairness: 20 ms of waiting, as for another service.
    type: 'bench_turn',
    timeoutMs: 60_000,
    maxAttempts: 3,
    run: async () => {
      const atNs = String(process.hrtime.bigint());
      await sleep(20);
      return { atNs, endNs: String(process.hrtime.bigint()) };
    },
  },
];
