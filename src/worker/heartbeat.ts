/** The heartbeat of a worker: written once before it starts to take jobs, and then by a loop. */
import type { Queryable } from '../db/connect.ts';
import { writeHeartbeat } from '../db/heartbeats.ts';
import type {
  DrainReport,
  DrainRequest,
  ProcessFacts,
  WrittenHeartbeat,
} from '../db/heartbeats.ts';
import type { Metrics } from '../metrics.ts';
import type { JobTypeFacts } from './executors/protocol.ts';
import type { Intake } from './intake.ts';
import type { RunningJobs } from './running-jobs.ts';
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

/** What a worker that has read the request to drain says of itself. */
export function drainReport(
  request: DrainRequest | null,
  intake: Pick<Intake, 'isDraining'>,
  running: Pick<RunningJobs, 'isIdle'>,
): DrainReport | undefined {
  if (request === null || !intake.isDraining) return undefined;
  return { request, state: running.isIdle ? 'empty' : 'draining' };
}

export async function writeWorkerHeartbeat(
  sql: Queryable,
  { executors, metrics, concurrency, process }: WorkerFacts,
  progress: {
    readonly running: number;
    readonly progressedAt: Date;
    readonly drain?: DrainReport | undefined;
  },
): Promise<WrittenHeartbeat> {
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
