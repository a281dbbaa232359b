/**
 * One round of dispatch: moves as many waiting jobs to the queues as live workers can soon take. While nothing waits it
 * asks the database only. Before jobs are claimed it writes to the queue store: while the store is away or refuses
 * writes, no job is.
 */
import { fleetSlots, liveWithinMs } from '../db/heartbeats.ts';
import type { Sql } from '../db/connect.ts';
import { messageOf, PurserError } from '../errors.ts';
import { claimWaitingJobs, lookForWork } from '../jobs/dispatch.ts';
import type { DispatchedJob, FailingTenants } from '../jobs/dispatch.ts';
import { countQueued, returnToPending } from '../jobs/queued.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { QueueBackend } from '../queues/backend.ts';
import type { RefusingQueue, Transport } from '../queues/transport.ts';
import { DispatchPace } from './dispatch-pace.ts';
import { QueueDepths } from './queue-depths.ts';
import type { SkipList } from './skip-list.ts';

export interface DispatchOptions {
  readonly sql: Sql;
  readonly backend: QueueBackend;
  readonly transport: Transport;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Tenants to skip. Default: a claim that one tenant's rows make fail throws. */
  readonly failing?: FailingTenants | undefined;
  /** What earlier rounds saw of the queues. Default: nothing. */
  readonly depths?: QueueDepths | undefined;
  /** How long rounds take, and when the next one is due. Default: not known. */
  readonly pace?: DispatchPace | undefined;
  /** The connections of `sql` hear of enqueued jobs. Default false. */
  readonly listens?: boolean | undefined;
  /** Queues to skip. Default: none is. */
  readonly refusing?: SkipList | undefined;
}

/**
 * Returns the number of dispatched jobs. Throws `queue_store_away` before anything is claimed, and
 * `queue_refuses_entries` where every claimed job went back because its queue refused it.
 */
export async function dispatchOnce(options: DispatchOptions): Promise<number> {
  const { sql, metrics, depths = new QueueDepths(), pace = new DispatchPace() } = options;
  const skipped = options.refusing?.list() ?? [];
  const work = await lookForWork(sql, pace.awakeMs(), options.listens);
  pace.looked(work);
  depths.roundsEvery(pace.betweenRoundsMs());
  const waiting = work.jobTypes.filter(
    (jobType) => !skipped.includes(jobType) && depths.mayHaveRoom(jobType),
  );
  if (waiting.length === 0) return 0;
  const areCounted = waiting.every((jobType) => depths.needsNoCount(jobType));
  const looks = Promise.all([
    fleetSlots(sql, liveWithinMs),
    areCounted ? undefined : countQueued(sql),
  ]);
  // Unless the store is away: then the workers stop beating too, and "no worker" would hide the cause.
  looks.catch(() => {});
  await pingStore(options.backend);
  const [slots, queued] = await looks;
  depths.serves([...slots.keys()]);
  const served = [...slots].filter(([jobType]) => waiting.includes(jobType));
  if (served.length === 0) return 0;
  const capacities = served.map(([jobType, facts]) => ({
    jobType,
    capacity: depths.room(
      jobType,
      facts,
      queued === undefined ? undefined : (queued.get(jobType) ?? 0),
    ),
    chunk: depths.chunk(facts.runMs),
    workers: facts.workers,
  }));
  const jobs = await claimWaitingJobs(sql, capacities, options.failing);
  if (jobs.length === 0) return 0;
  const refusing = await addEntries(options, jobs);
  const refused = new Set(refusing.map(({ jobType }) => jobType));
  const dispatched = jobs.filter(({ jobType }) => !refused.has(jobType));
  for (const { jobType } of dispatched) {
    depths.added(jobType);
    metrics.dispatched.inc({ job_type: jobType });
  }
  const [first] = refusing;
  if (dispatched.length === 0 && first !== undefined) {
    throw new PurserError(
      'queue_refuses_entries',
      `the queues of ${[...refused].join(', ')} in ${options.backend.kind} take no entries; their jobs wait in the ` +
        `database: ${messageOf(first.error)}; delete the damaged key, or all keys of the queue`,
      { cause: first.error },
    );
  }
  return dispatched.length;
}

/** Entries that did arrive of jobs that go back begin nothing: the next dispatch gives the job another entry. */
async function addEntries(
  { sql, transport, log, refusing: skipList }: DispatchOptions,
  jobs: readonly DispatchedJob[],
): Promise<RefusingQueue[]> {
  const goBack = async (back: readonly DispatchedJob[], error: unknown) => {
    const returned = await returnToPending(sql, back, 'queue store refused');
    log.warn({ jobs: back.length, returned, error }, 'dispatch_reverted');
  };
  try {
    const refusing = await transport.add(jobs);
    for (const { jobType, error } of refusing) {
      const back = jobs.filter((job) => job.jobType === jobType);
      await goBack(back, error);
      skipList?.add(jobType, error);
    }
    return refusing;
  } catch (error) {
    await goBack(jobs, error);
    throw error;
  }
}

async function pingStore(backend: QueueBackend): Promise<void> {
  try {
    await backend.probeWrite();
  } catch (error) {
    throw new PurserError(
      'queue_store_away',
      `the queues in ${backend.kind} accept no entries; jobs wait in the database: ${messageOf(error)}`,
      { cause: error },
    );
  }
}
