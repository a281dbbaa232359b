/**
 * The Procfile as a platform runs it: the release line, then every process type by a foreman; connected to Postgres
 * directly, and through a PgBouncer in transaction mode.
 */
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../support/children.ts';
import { emptyDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { startNode } from '../support/process.ts';
import type { CliProcess } from '../support/process.ts';
import { describeOnRedis, startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { countJobs, ingestSample, leaveWithinMs, untilWorkIsDone } from './fleet.ts';
import type { Environment } from './fleet.ts';
import { describeThroughPgBouncer, startPgBouncer, watchPooled } from './pgbouncer/pgbouncer.ts';
import type { TestPgBouncer } from './pgbouncer/pgbouncer.ts';

const require = createRequire(import.meta.url);
const foreman = join(dirname(require.resolve('foreman/package.json')), 'nf.js');
const root = join(import.meta.dirname, '..', '..');
const procfile = join(root, 'Procfile');

/** A handler that runs longer than the test, unless it is aborted. */
const slowHandlers = `
export const handlers = [{
  type: 'slow', timeoutMs: 120_000, maxAttempts: 2,
  run: async ({ sql, signal }) => {
    await sql\`select 1\`;
    await new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, 100_000);
      signal.addEventListener('abort', () => { clearTimeout(timer); reject(signal.reason); });
    });
  },
}];`;

const poolSize = 3;

describeOnRedis('the Procfile by a foreman, on Redis', () => {
  describe('directly to Postgres', () => {
    fleetTests('none');
  });
  describeThroughPgBouncer('through PgBouncer in transaction mode', () => {
    fleetTests('transaction');
  });
});

function fleetTests(pooling: 'none' | 'transaction'): void {
  let database: TestDatabase;
  let pooler: TestPgBouncer | undefined;
  let redis: TestRedis;
  let env: Environment;
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'purser-procfile-'));
    await writeFile(join(folder, 'slow.mjs'), slowHandlers);
    database = await emptyDatabase();
    redis = await startRedis();
    if (pooling !== 'none') pooler = await startPgBouncer({ mode: pooling, size: poolSize });
    env = {
      DATABASE_URL: pooler?.through(database.url) ?? database.url,
      DATABASE_DIRECT_URL: pooler === undefined ? undefined : database.url,
      REDIS_URL: redis.url,
      LOG_LEVEL: 'warn',
      PURSER_HANDLERS: join(folder, 'slow.mjs'),
    };
  });
  afterAll(async () => {
    await pooler?.stop();
    await redis.stop();
    await database.close();
    await rm(folder, { recursive: true, force: true });
  });

  /** Starts web, scheduler and two workers; resolves when all four have written a heartbeat. */
  async function startAll(): Promise<{ nf: CliProcess; pids: number[] }> {
    const nf = startNode(
      [
        foreman,
        'start',
        '--procfile',
        procfile,
        '--env',
        '/dev/null',
        '--port',
        String(await freePort()),
        'web,scheduler,worker=2',
      ],
      'nf start web,scheduler,worker=2',
      { env, cwd: root },
    );
    // If it ends or hangs before all four run, the error contains its output.
    const ended = nf.waitForExit({ timeoutMs: 60_000 }).then((exit) => {
      throw new Error(`nf ended with ${exit.code}:\n${exit.stdout}\n${exit.stderr}`);
    });
    ended.catch(() => {});
    try {
      for (;;) {
        const beats = await database.sql<{ pid: number; role: string }[]>`
          select pid, role from heartbeats order by role`;
        const roles = beats.map(({ role }) => role).join(' ');
        if (roles === 'scheduler web worker worker') {
          return { nf, pids: beats.map(({ pid }) => pid) };
        }
        await Promise.race([sleep(100), ended]);
      }
    } catch (error) {
      // Killing nf would leave the processes that it started.
      nf.signal('SIGTERM');
      await nf.waitForExit({ timeoutMs: leaveWithinMs }).catch(() => nf.kill());
      throw error;
    }
  }

  /**
   * Sends SIGTERM to each process, as a platform does. When the first one has exited, nf sends SIGINT to the
   * others: a second signal during their shutdown, which must have no effect.
   */
  async function terminate(nf: CliProcess, pids: readonly number[]): Promise<void> {
    for (const pid of pids) process.kill(pid, 'SIGTERM');
    const exit = await nf.waitForExit({ timeoutMs: leaveWithinMs });
    const words = `${exit.stdout}\n${exit.stderr}`;
    const ends = stripVTControlCharacters(words).match(/Exited .*/g);
    expect(ends).toEqual(Array.from({ length: 4 }, () => 'Exited Successfully'));
    expect(exit.code).toBe(0);
  }

  /** Kills nf and its processes, which would otherwise run on into the next test. */
  async function end(nf: CliProcess, pids: readonly number[]): Promise<void> {
    await nf.kill();
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has exited, as expected.
      }
    }
  }

  it('the release line of the file migrates the database', async () => {
    const line = /^release: node (.+)$/m.exec(readFileSync(procfile, 'utf8'))?.[1] ?? '';
    const release = startNode(line.split(' '), line, { env, cwd: root });
    expect(await release.waitForExit()).toMatchObject({ code: 0 });
  });

  it('all processes finish the work and exit with 0', async () => {
    const { nf, pids } = await startAll();
    try {
      await ingestSample(env);
      const pooled = watchPooled(database);
      const jobs = await untilWorkIsDone(database.sql, pooled.look);
      expect(jobs['cost_ingestion completed']).toBe(12);
      await terminate(nf, pids);
      expect(pooled.most()).toBeGreaterThan(0);
      // More would mean that a process connected past the pooler: directly, the fleet opens a dozen.
      expect(pooled.most()).toBeLessThanOrEqual(pooling === 'none' ? 18 : poolSize);
      expect(await database.sql`select from heartbeats`).toHaveLength(0);
    } finally {
      await end(nf, pids);
    }
  });

  it('the processes exit in time while jobs run, and requeue those without counting the attempt', async () => {
    const { nf, pids } = await startAll();
    try {
      const [tenant] = await database.sql<{ id: string }[]>`select id from tenants limit 1`;
      await database.sql`
        select purser.enqueue(${tenant?.id ?? ''}, 'slow', '{}'::jsonb) from generate_series(1, 3)`;
      for (;;) {
        if ((await countJobs(database.sql))['slow running'] === 3) break;
        await sleep(100);
      }
      await terminate(nf, pids);
      const slow = await database.sql<{ state: string; attempt: number }[]>`
        select state, attempt from background_jobs where job_type = 'slow'`;
      expect(slow.map(({ state, attempt }) => ({ state, attempt }))).toEqual(
        Array.from({ length: 3 }, () => ({ state: 'pending', attempt: 0 })),
      );
    } finally {
      await end(nf, pids);
    }
  });
}
