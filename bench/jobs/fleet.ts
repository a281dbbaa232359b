/** A fleet of Purser for the benchmark: its own database, and the built CLI in separate processes. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Sql } from '../../src/db/connect.ts';
import { endChild, track } from '../../test/support/children.ts';
import type { Build } from './build.ts';
import { cpuMs, treeCpuMs } from './cpu.ts';
import type { Servers } from './servers.ts';

export type Store = 'redis' | 'postgres';

export interface Setting {
  readonly build: Build;
  readonly dist: string;
  readonly servers: Servers;
  /** Jobs at once, in Purser's worker as in BullMQ's. */
  readonly concurrency: number;
  /** WORKER_BEGUN_AHEAD of Purser's worker. */
  readonly begunAhead: number;
  /** SCHEDULER_JOBS_PER_ENTRY of Purser's scheduler. */
  readonly jobsPerEntry: number;
  readonly rounds: number;
  /** Length of a phase of pressure. */
  readonly minutes: number;
  /** Of the pressure; all if undefined. */
  readonly phases?: readonly string[] | undefined;
}

const handlersFile = fileURLToPath(new URL('./handlers.mjs', import.meta.url));
export const tenants = Array.from({ length: 10 }, (_, index) => `tenant-${index}`);
/** The default of WORKER_BEGUN_AHEAD, unless the environment has another one. */
export const defaultBegunAhead = Number(process.env['WORKER_BEGUN_AHEAD'] ?? 800);
/** Without the log line per job, since plain BullMQ writes none. */
export const logLevel = 'warn';

export interface FleetDatabase {
  readonly url: string;
  readonly sql: Sql;
  close(): Promise<void>;
}

/** A migrated database with the bench's tenants and job types. */
export async function openFleetDatabase(
  { build, servers }: Setting,
  name: string,
  connections = 4,
): Promise<FleetDatabase> {
  const url = await servers.database(name);
  await build.prepareDatabase({ url });
  const sql = build.connect(url, { max: connections, applicationName: 'bench' });
  await sql`insert into tenants (id, plan) select unnest(${tenants}::text[]), 'enterprise'`;
  const registry = await build.openRegistry(handlersFile);
  await build.registerJobTypes(sql, [...registry.values()].map(build.toJobType));
  return { url, sql, close: () => sql.end({ timeout: 5 }) };
}

/** Until the server vacuums nothing of the stage before, for a minute and a half at most. */
export async function untilNoVacuum(sql: Sql): Promise<void> {
  let quiet = 0;
  for (let seconds = 0; seconds < 90 && quiet < 5; seconds += 1) {
    const vacuums =
      await sql`select from pg_stat_activity where backend_type = 'autovacuum worker'`;
    quiet = vacuums.length === 0 ? quiet + 1 : 0;
    await sleep(1_000);
  }
}

export interface Fleet {
  readonly workerPid: number;
  readonly schedulerPid: number;
  /** Returns the exit codes of worker and scheduler, or the signals that ended them. */
  stop(): Promise<(number | string)[]>;
}

/** CPU time of the fleet and its servers, of queues in Redis. */
export const fleetCpu = ({ servers }: Setting, fleet: Fleet) => ({
  worker: () => cpuMs(fleet.workerPid),
  scheduler: () => cpuMs(fleet.schedulerPid),
  postgres: () => treeCpuMs(servers.postgresPid),
  redis: () => cpuMs(servers.redisPid),
});

export function fleetEnvironment(
  { servers, concurrency, begunAhead, jobsPerEntry }: Setting,
  url: string,
  store: Store,
): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'],
    HOME: process.env['HOME'],
    DATABASE_URL: url,
    ...(store === 'redis' ? { REDIS_URL: servers.redisUrl } : {}),
    PURSER_HANDLERS: handlersFile,
    WORKER_CONCURRENCY: String(concurrency),
    WORKER_BEGUN_AHEAD: String(begunAhead),
    SCHEDULER_JOBS_PER_ENTRY: String(jobsPerEntry),
    LOG_LEVEL: logLevel,
  };
}

/** Starts one worker and one scheduler; resolves when the worker's slots are known to dispatch. */
export async function startFleet(
  setting: Setting,
  { url, sql }: FleetDatabase,
  store: Store,
): Promise<Fleet> {
  const env = fleetEnvironment(setting, url, store);
  const worker = startRole(setting.dist, 'worker', env);
  const scheduler = startRole(setting.dist, 'scheduler', env);
  await Promise.all([worker.runs, scheduler.runs]);
  while ((await setting.build.fleetSlots(sql, 15_000)).size === 0) await sleep(50);
  return {
    workerPid: worker.child.pid ?? 0,
    schedulerPid: scheduler.child.pid ?? 0,
    stop: async () => {
      const children = [worker.child, scheduler.child];
      await Promise.all(children.map((child) => endChild(child, 'SIGTERM')));
      return children.map(({ exitCode, signalCode }) => exitCode ?? signalCode ?? 'none');
    },
  };
}

/** Starts `purser start ROLE`; `runs` resolves when it says that it runs. */
export function startRole(
  dist: string,
  role: 'worker' | 'scheduler',
  env: NodeJS.ProcessEnv,
): { child: ChildProcess; runs: Promise<void> } {
  const child = spawn(process.execPath, [join(dist, 'cli', 'main.js'), 'start', role], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  track(child);
  const runs = new Promise<void>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`purser ${role} ended with ${code}`)));
    createInterface({ input: child.stderr }).on('line', (line) => {
      if (line.includes(`purser ${role} is running`)) resolve();
      else process.stderr.write(`purser ${role}: ${line}\n`);
    });
  });
  return { child, runs };
}
