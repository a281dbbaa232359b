/**
 * The pipeline of one attempt: begin -> run in an executor -> finish -> log and metrics. Every attempt that began is
 * finished exactly once, or refused as stale.
 */
import { randomUUID } from 'node:crypto';
import type { AttemptEnd, BegunAttempt, FinishResult } from '../jobs/attempts.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Entry } from '../queues/backend.ts';
import { logAttemptEnd } from './log-attempt-end.ts';
import type { AttemptBatches } from './batches/attempt-batches.ts';
import type { Executors } from './executors/executors.ts';
import type { RunningJobs } from './running-jobs.ts';

export interface ExecuteOptions {
  readonly batches: AttemptBatches;
  readonly executors: Executors;
  readonly running: RunningJobs;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly leaseMs: number;
}

export interface Execution {
  /** undefined: the entry was stale, and no attempt began. */
  readonly end: AttemptEnd | undefined;
  readonly finish: FinishResult | undefined;
}

/** Runs one queue entry. Throws only when the database stays unavailable. */
export async function executeEntry(options: ExecuteOptions, entry: Entry): Promise<Execution> {
  const { batches, running, log, leaseMs } = options;
  const { jobId, dispatchNo } = entry;
  const token = randomUUID();
  const controller = new AbortController();
  const begun = running.enterBeginning();
  let attempt: BegunAttempt | undefined;
  const askedAtMs = performance.now();
  try {
    attempt = await batches.begin({ jobId, dispatchNo, token });
    if (attempt !== undefined) {
      running.add({ attempt, controller, leasedUntilMs: askedAtMs + leaseMs });
    }
  } finally {
    begun();
  }
  if (attempt === undefined) {
    log.debug({ jobId, dispatchNo }, 'stale_entry');
    return { end: undefined, finish: undefined };
  }
  const startedAt = performance.now();
  try {
    const end = await options.executors.run(attempt, controller);
    const finish = await batches.finish({ jobId, token, end });
    logAttemptEnd(options, attempt, end, finish, (performance.now() - startedAt) / 1000);
    return { end, finish };
  } finally {
    running.remove(token);
  }
}
