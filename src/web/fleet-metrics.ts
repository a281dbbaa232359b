/**
 * What the stores say about the whole fleet, as metrics: jobs by state, the oldest job that waits, living
 * processes, entries in the queues, and whether the stores answered.
 */
import { Gauge, Registry } from 'prom-client';
import type { Queryable } from '../db/connect.ts';
import type { Database } from '../db/database.ts';
import { listHeartbeats } from '../db/heartbeats.ts';
import { countByState } from '../jobs/inspect.ts';
import { jobStates } from '../jobs/states.ts';
import type { Logger } from '../log.ts';
import { deadLetterQueue } from '../queues/dead-letter-mirror.ts';
import type { Transport } from '../queues/transport.ts';
import { within } from './within.ts';

export interface FleetOptions {
  readonly database: Database;
  readonly transport: Transport;
  readonly jobTypes: () => Promise<readonly string[]>;
  readonly log: Logger;
}

type Beats = Awaited<ReturnType<typeof listHeartbeats>>;

export interface FleetReading {
  readonly registry: Registry;
  /** Heartbeats of the living processes; none while Postgres is away. */
  readonly beats: Beats;
}

/** A process beats every 2 s; after this long it counts as gone. */
export const livingMs = 15_000;
const answerMs = 5_000;
const roles = ['scheduler', 'worker', 'web'] as const;
const entryStates = ['waiting', 'active', 'delayed', 'failed'] as const;

/** Reads both stores once. A store that does not answer costs its metrics, and `store_up` says so. */
export async function readFleet(options: FleetOptions): Promise<FleetReading> {
  const registry = new Registry();
  const up = new Gauge({
    name: 'store_up',
    help: '1 when the store answered this scrape',
    labelNames: ['store'] as const,
    registers: [registry],
  });
  const tried = async <T>(
    store: 'postgres' | 'queue',
    read: Promise<T>,
  ): Promise<T | undefined> => {
    try {
      const value = await within(answerMs, read);
      up.set({ store }, 1);
      return value;
    } catch (error) {
      options.log.warn({ store, error }, 'store_not_read');
      up.set({ store }, 0);
      return undefined;
    }
  };
  const beats = await tried('postgres', readTables(options, registry));
  await tried('queue', readQueues(options, registry));
  return { registry, beats: beats ?? [] };
}

async function readTables({ database }: FleetOptions, registry: Registry): Promise<Beats> {
  const sql = database.system;
  const [counts, oldestSeconds, beats] = await Promise.all([
    countByState(sql),
    oldestWaitingSeconds(sql),
    listHeartbeats(sql, livingMs),
  ]);
  const registers = [registry];
  const jobs = new Gauge({
    name: 'jobs',
    help: 'Jobs in the table by state',
    labelNames: ['state'] as const,
    registers,
  });
  for (const state of jobStates) jobs.set({ state }, counts[state] ?? 0);
  new Gauge({
    name: 'oldest_waiting_job_seconds',
    help: 'How long the oldest job that could run has been waiting to run',
    registers,
  }).set(oldestSeconds);
  const processes = new Gauge({
    name: 'processes',
    help: 'Living processes by role',
    labelNames: ['role'] as const,
    registers,
  });
  for (const role of roles) {
    processes.set({ role }, beats.filter((beat) => beat.role === role).length);
  }
  return beats;
}

/** Seconds since the oldest job that is due and not running fell due; 0 when none is. */
async function oldestWaitingSeconds(sql: Queryable): Promise<number> {
  const [row] = await sql<{ seconds: number }[]>`
    select coalesce(extract(epoch from now() - min(scheduled_for)), 0)::float8 as seconds
    from public.background_jobs
    where state in ('pending', 'failed', 'queued') and scheduled_for <= now()`;
  return row?.seconds ?? 0;
}

async function readQueues(options: FleetOptions, registry: Registry): Promise<void> {
  const names = [...(await options.jobTypes()), deadLetterQueue];
  const counts = await Promise.all(
    names.map((name) => options.transport.queue(name).getJobCounts(...entryStates)),
  );
  const entries = new Gauge({
    name: 'queue_entries',
    help: 'Entries in the queues by state',
    labelNames: ['queue', 'state'] as const,
    registers: [registry],
  });
  for (const [index, queue] of names.entries()) {
    for (const state of entryStates) entries.set({ queue, state }, counts[index]?.[state] ?? 0);
  }
}
