/**
 * Metrics of the whole fleet, read from the stores: jobs by state, age of the oldest waiting job, live
 * processes, queue entries, and whether each store answered.
 */
import { Gauge, Registry } from 'prom-client';
import type { Queryable, Sql } from '../db/connect.ts';
import type { Database } from '../db/database.ts';
import { listHeartbeats, liveWithinMs } from '../db/heartbeats.ts';
import { countByState } from '../jobs/inspect.ts';
import { jobStates } from '../jobs/states.ts';
import type { Logger } from '../log.ts';
import { deadLetterQueue } from '../queues/dead-letter-mirror.ts';
import type { Transport } from '../queues/transport.ts';
import { within } from './time-limit.ts';

export interface FleetOptions {
  readonly database: Database;
  readonly transport: Transport;
  readonly jobTypes: () => Promise<readonly string[]>;
  readonly log: Logger;
}

type Beats = Awaited<ReturnType<typeof listHeartbeats>>;

export interface FleetReading {
  readonly registry: Registry;
  /** Heartbeats of live processes (seen in the last 15 s); empty while Postgres is unavailable. */
  readonly beats: Beats;
}

const answerMs = 5_000;
const roles = ['scheduler', 'worker', 'web'] as const;
const entryStates = ['waiting', 'active', 'delayed', 'failed'] as const;

/** Reads both stores once. Metrics of a store that does not answer are missing, and its `purser_store_up` is 0. */
export async function readFleet(options: FleetOptions): Promise<FleetReading> {
  const registry = new Registry();
  const up = new Gauge({
    name: 'purser_store_up',
    help: '1 when the store answered this scrape',
    labelNames: ['store'] as const,
    registers: [registry],
  });
  const read = async <T>(what: string, answer: Promise<T>): Promise<T | undefined> => {
    try {
      return await within(answerMs, answer);
    } catch (error) {
      options.log.warn({ what, error }, 'fleet_metrics_not_read');
      return undefined;
    }
  };
  const sql = options.database.system;
  const [beats, queues] = await Promise.all([
    read('heartbeats', listHeartbeats(sql, liveWithinMs)),
    read('queues', readQueues(options, registry)),
  ]);
  up.set({ store: 'postgres' }, beats === undefined ? 0 : 1);
  up.set({ store: 'queue' }, queues === undefined ? 0 : 1);
  if (beats === undefined) return { registry, beats: [] };
  countProcesses(beats, registry);
  await read('jobs', readJobs(sql, registry));
  return { registry, beats };
}

function countProcesses(beats: Beats, registry: Registry): void {
  const processes = new Gauge({
    name: 'purser_processes',
    help: 'Live processes by role',
    labelNames: ['role'] as const,
    registers: [registry],
  });
  for (const role of roles) {
    processes.set({ role }, beats.filter((beat) => beat.role === role).length);
  }
}

/** With a statement timeout: counting a huge table must not hold a connection for long. */
async function readJobs(sql: Sql, registry: Registry): Promise<void> {
  const { counts, oldestSeconds } = await sql.begin(async (tx) => {
    await tx`select set_config('statement_timeout', ${String(answerMs)}, true)`;
    return { counts: await countByState(tx), oldestSeconds: await oldestWaitingSeconds(tx) };
  });
  const registers = [registry];
  const jobs = new Gauge({
    name: 'purser_jobs',
    help: 'Jobs in the database by state',
    labelNames: ['state'] as const,
    registers,
  });
  for (const state of jobStates) jobs.set({ state }, counts[state] ?? 0);
  new Gauge({
    name: 'purser_oldest_waiting_job_seconds',
    help: 'Time since the oldest job that is due and not running became due',
    registers,
  }).set(oldestSeconds);
}

/** Seconds since the oldest job that is due and not running became due; 0 when there is none. */
async function oldestWaitingSeconds(sql: Queryable): Promise<number> {
  const [row] = await sql<{ seconds: number }[]>`
    select coalesce(extract(epoch from now() - min(scheduled_for)), 0)::float8 as seconds
    from (
      select min(scheduled_for) as scheduled_for from purser.waiting
      union all select min(scheduled_for) from purser.later where scheduled_for <= now()
      union all select min(scheduled_for) from purser.in_flight where token is null
    ) oldest`;
  return row?.seconds ?? 0;
}

async function readQueues(options: FleetOptions, registry: Registry): Promise<true> {
  const names = [...(await options.jobTypes()), deadLetterQueue];
  const counts = await Promise.all(
    names.map((name) => options.transport.queue(name).getJobCounts(...entryStates)),
  );
  const entries = new Gauge({
    name: 'purser_queue_entries',
    help: 'Entries in the queues by state',
    labelNames: ['queue', 'state'] as const,
    registers: [registry],
  });
  for (const [index, queue] of names.entries()) {
    for (const state of entryStates) entries.set({ queue, state }, counts[index]?.[state] ?? 0);
  }
  return true;
}
