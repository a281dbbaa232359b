/**
 * One round of dispatch: as many waiting jobs as the living workers can soon take go to the queues. The
 * store is asked whether it is there before a job is claimed for it: while it is away, jobs wait in the table.
 */
import { fleetSlots } from '../db/heartbeats.ts';
import type { Sql } from '../db/connect.ts';
import { messageOf, PurserError } from '../errors.ts';
import { claimWaitingJobs, countQueued, returnLostEntries } from '../jobs/dispatch.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { QueueBackend } from '../queues/backend.ts';
import type { Transport } from '../queues/transport.ts';

/** Entries held per free slot: deep enough to keep workers busy, shallow enough to stay fair. */
const depth = 2;
const workerAliveMs = 15_000;

export interface DispatchOptions {
  readonly sql: Sql;
  readonly backend: QueueBackend;
  readonly transport: Transport;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** Returns how many jobs were handed to the queues. Throws `queue_store_away`, having claimed nothing. */
export async function dispatchOnce(options: DispatchOptions, now: Date): Promise<number> {
  const { sql, transport, metrics, log } = options;
  // First: without a store workers fall silent too, and that there are none is not what is wrong.
  await askStore(options.backend);
  const slots = await fleetSlots(sql, workerAliveMs);
  if (slots.size === 0) return 0;
  const queued = await countQueued(sql);
  const rooms = [...slots]
    .map(([jobType, count]) => ({
      jobType,
      room: Math.max(0, count * depth - (queued.get(jobType) ?? 0)),
    }))
    .filter(({ room }) => room > 0);
  if (rooms.length === 0) return 0;
  const jobs = await claimWaitingJobs(sql, rooms, now);
  if (jobs.length === 0) return 0;
  try {
    await transport.add(jobs);
  } catch (error) {
    // Entries that did arrive are harmless: their dispatch number is no longer the job's.
    const returned = await returnLostEntries(sql, jobs);
    log.warn({ jobs: jobs.length, returned, error }, 'dispatch_taken_back');
    throw error;
  }
  for (const { jobType } of jobs) metrics.dispatched.inc({ job_type: jobType });
  return jobs.length;
}

async function askStore(backend: QueueBackend): Promise<void> {
  try {
    await backend.ping();
  } catch (error) {
    throw new PurserError(
      'queue_store_away',
      `the queues in ${backend.kind} do not answer; jobs wait in the database: ${messageOf(error)}`,
      { cause: error },
    );
  }
}
