/** The heartbeat of a worker: written once before it starts to take jobs, and then by a loop. */
import type { Queryable } from '../db/connect.ts';
import { writeHeartbeat } from '../db/heartbeats.ts';
import type { BeatMark, ProcessFacts } from '../db/heartbeats.ts';
import type { Metrics } from '../metrics.ts';
import type { JobTypeFacts } from './executors/protocol.ts';
import type { RunTimes } from './executors/run-times.ts';

export interface WorkerFacts {
  readonly executors: {
    readonly jobTypes: ReadonlyMap<string, JobTypeFacts>;
    readonly runTimes: RunTimes;
  };
  readonly metrics: Pick<Metrics, 'registry'>;
  /** Jobs that run at once in this process, of all types together. */
  readonly concurrency: number;
  readonly process: ProcessFacts;
}

/** How many jobs of a type a worker runs at once. */
export const slotsOfType = (concurrency: number, facts: JobTypeFacts): number =>
  Math.min(concurrency, facts.concurrency ?? concurrency);

export async function writeWorkerHeartbeat(
  sql: Queryable,
  { executors, metrics, concurrency, process }: WorkerFacts,
  progress: { readonly running: number; readonly progressedAt: Date },
): Promise<BeatMark> {
  const types = [...executors.jobTypes.values()];
  return writeHeartbeat(sql, {
    ...process,
    role: 'worker',
    jobTypes: types.map(({ type }) => type),
    typeSlots: types.map((facts) => slotsOfType(concurrency, facts)),
    typeRunMs: types.map(({ type }) => executors.runTimes.of(type) ?? null),
    slots: concurrency,
    ...progress,
    metrics: await metrics.registry.getMetricsAsJSON(),
  });
}
