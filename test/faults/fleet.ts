/**
 * The set-up of a fault scenario: a database and a queue store of its own, a scheduler, workers that are restarted when
 * they end, and the checks at the end of every scenario.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, inject } from 'vitest';
import type { Sql } from '../../src/db/connect.ts';
import type { JobState } from '../../src/jobs/states.ts';
import { freshDatabase } from '../support/database.ts';
import { startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { addTenant } from '../support/tenants.ts';
import { keepAuditing } from './audit/continuous.ts';
import type { Sightings } from './audit/continuous.ts';
import { audit, makeAuditable } from './auditor.ts';
import type { Audit } from './auditor.ts';
import { say } from './figures.ts';
import { outageWaitMs, until } from './until.ts';
import { startProxy } from './proxy.ts';
import type { Proxy } from './proxy.ts';
import { keepProcess } from './respawner.ts';
import type { KeptProcess, Life } from './respawner.ts';

export type BackendKind = 'redis' | 'postgres';
export type Environment = Readonly<Record<string, string | undefined>>;

/** Time that the scheduler's intervals add to a lease before a lost job runs again (src/scheduler/scheduler.ts). */
export const sweepMs = 3_000;
export const dispatchMs = 300;

export interface Stage {
  readonly sql: Sql;
  /** undefined when the queues are in Postgres. */
  readonly redis: TestRedis | undefined;
  readonly databaseUrl: string;
  readonly tenantId: string;
  readonly leaseMs: number;
  /** Environment of the processes; a call may override it. */
  readonly env: Environment;
  keepWorker(more?: Environment): Promise<KeptProcess>;
  keepScheduler(more?: Environment): Promise<KeptProcess>;
  /** In front of this stage's database or Redis; stopped after the processes. */
  proxyOf(server: 'postgres' | 'redis'): Promise<Proxy>;
  /** Enqueues one job per payload. Returns their ids, for the audit. */
  enqueue(
    jobType: string,
    payloads: readonly object[],
    of?: { readonly tenantId?: string; readonly group?: string },
  ): Promise<string[]>;
  /** The path of a closed gate: jobs wait for it until open(). */
  gate(): string;
  open(gate: string): Promise<void>;
  /** Waits until so many of the jobs are in one of the states. */
  untilStates(ids: readonly string[], count: number, ...states: JobState[]): Promise<void>;
  /** Waits until the job has ended, `withinMs` at most. */
  untilEnded(jobId: string, withinMs: number): Promise<void>;
  /** Waits until every accepted job has ended, and audits. Throws what work is left. */
  audit(withinMs?: number): Promise<Audit>;
}

const keptWords = 3_000;
const endedStates: readonly JobState[] = ['completed', 'dead_letter', 'cancelled'];

interface StageOptions {
  readonly backend: BackendKind;
  readonly leaseMs?: number;
  /** How long after the end of its lease an attempt may still stand under its worker. Default 60 s. */
  readonly staleLeaseMs?: number;
}

/**
 * Plays `act` on a stage of its own, while a continuous audit looks at its database. At its end every process is told
 * to stop and has to leave with exit code 0; when it fails, the error says what jobs and processes were last seen at.
 */
export async function onStage<T>(
  options: StageOptions,
  act: (stage: Stage) => Promise<T>,
): Promise<T> {
  const { stage, close, lastSight } = await openStage(options);
  let result: T;
  try {
    result = await act(stage);
  } catch (error) {
    const sight = await lastSight();
    const { seen } = await close();
    const message = error instanceof Error ? error.message : String(error);
    throw new Error([message, ...seen.faults, sight].join('\n'), { cause: error });
  }
  const { lives, seen } = await close();
  say(`continuous audit: ${seen.looks} looks, ${seen.missed} missed`);
  expect(seen.faults).toEqual([]);
  if (seen.lastedMs > fewSecondsMs) expect(seen.looks).toBeGreaterThan(0);
  expect(lives.map(({ code, signal }) => code ?? signal)).toEqual(lives.map(() => 0));
  return result;
}

/** A shorter scenario may end before the first look. */
const fewSecondsMs = 5_000;

interface OpenedStage {
  readonly stage: Stage;
  readonly close: () => Promise<{ readonly lives: Life[]; readonly seen: Sightings }>;
  readonly lastSight: () => Promise<string>;
}

async function openStage(options: StageOptions): Promise<OpenedStage> {
  const { backend, leaseMs = 1_500 } = options;
  const database = await freshDatabase();
  const redis = backend === 'redis' ? await startRedis() : undefined;
  const folder = await mkdtemp(join(tmpdir(), 'purser-gates-'));
  const { sql } = database;
  await makeAuditable(sql);
  const tenantId = await addTenant(sql, { limitUsd: '5' });
  // Only the scenario's own jobs.
  await sql`update tenant_schedules set enabled = false`;
  const auditing = keepAuditing(database.url, options);
  const kept: KeptProcess[] = [];
  const accepted: string[] = [];
  const proxies: Proxy[] = [];
  let gates = 0;
  const env: Environment = {
    DATABASE_URL: database.url,
    REDIS_URL: redis?.url,
    LOG_LEVEL: 'warn',
    PURSER_LEASE_MS: String(leaseMs),
    PURSER_HANDLERS: fileURLToPath(new URL('handlers.mjs', import.meta.url)),
    WORKER_CONCURRENCY: '50',
  };
  const keep = async (role: 'worker' | 'scheduler', more: Environment): Promise<KeptProcess> => {
    const one = await keepProcess(role, { ...env, ...more });
    kept.push(one);
    return one;
  };

  const untilIn = (
    ids: readonly string[],
    count: number,
    states: readonly JobState[],
    withinMs: number,
  ): Promise<void> =>
    until(
      `${count} of ${ids.length} jobs to be ${states.join(' or ')}`,
      async () => {
        const [row] = await sql<{ jobs: number }[]>`
          select count(*)::int as jobs from background_jobs
          where id = any(${[...ids]}::bigint[]) and state = any(${[...states]})`;
        return row !== undefined && row.jobs >= count;
      },
      withinMs,
    );
  const stage: Stage = {
    sql,
    redis,
    databaseUrl: database.url,
    tenantId,
    leaseMs,
    env,
    keepWorker: (more = {}) => keep('worker', more),
    keepScheduler: (more = {}) => keep('scheduler', more),
    proxyOf: async (server) => {
      const { host, port } = inject('testPostgres');
      if (server === 'redis' && redis === undefined) throw new Error('this stage has no Redis');
      const proxy = await startProxy(
        server === 'postgres' ? { host, port, speaks: 'postgres' } : { port: redis?.port ?? 0 },
      );
      proxies.push(proxy);
      return proxy;
    },
    enqueue: async (jobType, payloads, of = {}) => {
      const rows = await sql<{ id: string }[]>`
        select e.job_id::text as id
        from jsonb_array_elements(${JSON.stringify(payloads)}::text::jsonb) with ordinality p (payload, place)
        cross join lateral purser.enqueue(${of.tenantId ?? tenantId}, ${jobType}, p.payload,
          p_group => ${of.group ?? null}) e order by p.place`;
      const ids = rows.map(({ id }) => id);
      accepted.push(...ids);
      return ids;
    },
    gate: () => {
      gates += 1;
      return join(folder, `gate-${gates}`);
    },
    open: (gate) => writeFile(gate, ''),
    untilStates: (ids, count, ...states) => untilIn(ids, count, states, outageWaitMs),
    untilEnded: (jobId, withinMs) => untilIn([jobId], 1, endedStates, withinMs),
    audit: async (withinMs = outageWaitMs) => {
      await until(
        'every job to end',
        async () => {
          const [row] = await sql<{ left: number }[]>`
            select count(*)::int as left from background_jobs where state <> all(${[...endedStates]})`;
          return row?.left === 0;
        },
        withinMs,
      ).catch(() => {
        // The audit reports what remains.
      });
      return audit(sql, accepted);
    },
  };
  return {
    stage,
    close: async () => {
      const lives = await Promise.all(kept.map((one) => one.stop()));
      const seen = await auditing.stop();
      await Promise.all(proxies.map((proxy) => proxy.stop()));
      await redis?.stop();
      await database.close();
      await rm(folder, { recursive: true, force: true });
      return { lives, seen };
    },
    lastSight: async () => {
      const jobs = await sql`
        select job_type, state, attempt, suspect, losses, state_detail, count(*)::int as jobs, error
        from background_jobs group by 1, 2, 3, 4, 5, 6, 8 order by 7 desc limit 10`;
      const words = kept.map(
        (one) =>
          `after ${one.ended.length} processes:\n${one.current().stderr.slice(-8).join('\n').slice(-keptWords)}`,
      );
      return [...jobs.map((row) => JSON.stringify(row)), ...words].join('\n');
    },
  };
}
