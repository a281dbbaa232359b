/**
 * One round of dispatch: moves as many waiting jobs to the queues as live workers can soon take. A round begins
 * with a write to the queue store: while the store is away or refuses writes, no job is claimed.
 */
import { fleetSlots } from '../db/heartbeats.ts';
import type { Sql } from '../db/connect.ts';
import { messageOf, PurserError } from '../errors.ts';
import { claimWaitingJobs } from '../jobs/dispatch.ts';
import type { FailingTenants } from '../jobs/dispatch.ts';
import { countQueued, returnToPending } from '../jobs/queued.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { QueueBackend } from '../queues/backend.ts';
import type { Transport } from '../queues/transport.ts';

/** Queue entries per worker slot: enough to keep workers busy, few enough to stay fair. */
const entriesPerSlot = 2;
const workerAliveMs = 15_000;

export interface DispatchOptions {
  readonly sql: Sql;
  readonly backend: QueueBackend;
  readonly transport: Transport;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Tenants to skip. Default: a claim that one tenant's rows make fail throws. */
  readonly failing?: FailingTenants | undefined;
}

/** Returns the number of dispatched jobs. Throws `queue_store_away` before anything is claimed. */
export async function dispatchOnce(options: DispatchOptions): Promise<number> {
  const { sql, transport, metrics, log } = options;
  // Before the workers are counted: when the store is away they stop beating too, and "no worker" would hide the cause.
  await pingStore(options.backend);
  const slots = await fleetSlots(sql, workerAliveMs);
  if (slots.size === 0) return 0;
  const queued = await countQueued(sql);
  const capacities = [...slots].map(([jobType, count]) => ({
    jobType,
    capacity: count * entriesPerSlot - (queued.get(jobType) ?? 0),
  }));
  const jobs = await claimWaitingJobs(sql, capacities, options.failing);
  if (jobs.length === 0) return 0;
  try {
    await transport.add(jobs);
  } catch (error) {
    // Entries that did arrive begin nothing: the next dispatch gives the job another number.
    const returned = await returnToPending(sql, jobs, 'queue store refused');
    log.warn({ jobs: jobs.length, returned, error }, 'dispatch_reverted');
    throw error;
  }
  for (const { jobType } of jobs) metrics.dispatched.inc({ job_type: jobType });
  return jobs.length;
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
