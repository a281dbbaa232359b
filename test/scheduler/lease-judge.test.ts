/** After an outage of Postgres nobody is judged by a lease that expired meanwhile. */
import { randomUUID } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { prepareDatabase } from '../../src/cli/runtime/prepare-database.ts';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import type { EmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import { PurserError } from '../../src/errors.ts';
import { openQueueBackend } from '../../src/queues/backend.ts';
import { createTransport } from '../../src/queues/transport.ts';
import { createMetrics } from '../../src/metrics.ts';
import { LeaseJudge } from '../../src/scheduler/lease-judge.ts';
import { startScheduler } from '../../src/scheduler/scheduler.ts';
import { addJobType, eventually, jobRow, runningJob } from '../jobs/job-steps.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { addTenant } from '../support/tenants.ts';

describe('a scheduler judges leases', () => {
  const leaseMs = 15_000;
  const lost = Object.assign(new Error('gone'), { code: 'CONNECTION_CLOSED' });
  /** Answered every second from `fromMs` to `toMs`. */
  const answer = (judge: LeaseJudge, fromMs: number, toMs: number): void => {
    for (let ms = fromMs; ms <= toMs; ms += 1_000) judge.answered(ms);
  };

  it('only after a lease of answers', () => {
    const judge = new LeaseJudge(leaseMs);
    expect(judge.mayJudge(0)).toBe(false);
    answer(judge, 0, 14_000);
    expect(judge.mayJudge(14_900)).toBe(false);
    answer(judge, 15_000, 15_000);
    expect(judge.mayJudge(15_000)).toBe(true);
  });

  it('a lease after the first answer that follows a lost connection', () => {
    const judge = new LeaseJudge(leaseMs);
    answer(judge, 0, 20_000);
    judge.failed(lost);
    expect(judge.mayJudge(20_000)).toBe(false);
    answer(judge, 21_000, 35_000);
    expect(judge.mayJudge(35_500)).toBe(false);
    answer(judge, 36_000, 36_000);
    expect(judge.mayJudge(36_000)).toBe(true);
  });

  it('not right after an answer that took long: the workers waited too', () => {
    const judge = new LeaseJudge(leaseMs);
    answer(judge, 0, 20_000);
    expect(judge.mayJudge(28_000)).toBe(false);
    judge.answered(28_000);
    expect(judge.mayJudge(28_100)).toBe(false);
    answer(judge, 29_000, 43_000);
    expect(judge.mayJudge(43_000)).toBe(true);
  });

  it('whatever else fails', () => {
    const judge = new LeaseJudge(leaseMs);
    answer(judge, 0, 20_000);
    judge.failed(new PurserError('queue_store_away', 'Redis is away'));
    judge.failed(Object.assign(new Error('deadlock'), { code: '40P01' }));
    expect(judge.mayJudge(20_500)).toBe(true);
  });

  it('on a busy machine, where a round of the loops takes longer than a short lease', () => {
    const judge = new LeaseJudge(1_000);
    for (const ms of [0, 4_000, 8_000]) judge.answered(ms);
    expect(judge.mayJudge(8_500)).toBe(true);
  });
});

describe('a crash of a process of Postgres, which keeps its start time', () => {
  const leaseMs = 2_000;
  let dataDir: string;
  let server: EmbeddedPostgres;
  let sql: Sql;

  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'purser-crash-'));
    await chmod(dataDir, 0o711);
    server = await startEmbeddedPostgres({ dataDir });
    await prepareDatabase({ url: server.url });
    sql = connect(server.url, { max: 3, applicationName: 'purser test' });
    await addJobType(sql);
  });
  afterAll(async () => {
    await sql.end({ timeout: 5 });
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  });

  it('costs no live worker its jobs: their leases count again after a lease without a break', async () => {
    const { jobId } = await runningJob(sql, await addTenant(sql), {}, 600_000);
    const { jobId: dead } = await runningJob(sql, await addTenant(sql), {}, -1);
    const backend = openQueueBackend({
      redisUrl: undefined,
      databaseUrl: server.url,
      workers: 1,
      fleetId: randomUUID(),
      applicationName: 'purser test queues',
      log: silentLog,
    });
    const scheduler = startScheduler({
      sql,
      backend,
      transport: createTransport(backend),
      log: silentLog,
      metrics: createMetrics(),
      leaseMs,
      reconcileAfterMs: 10_000,
      more: [],
      sweepEveryMs: 50,
      process: { processId: 'scheduler-x', version: '0', hostname: 'x', pid: 1 },
    });
    try {
      // It judges now.
      await eventually('the job of a dead worker to go back', async () =>
        (await jobRow(sql, dead)).state === 'pending' ? true : undefined,
      );
      const started = await startTime();
      await sql`update purser.in_flight set expires_at = now() + interval '1 second' where job_id = ${jobId}`;
      const [session] = await sql<{ pid: number; at: string }[]>`
        select pg_backend_pid() as pid, clock_timestamp()::text as at`;
      process.kill(session?.pid ?? 0, 'SIGKILL');
      const back = await eventually('Postgres is back', async () => {
        // No session of before is left.
        const [row] = await sql<{ at: Date }[]>`
          select now() as at where not exists (
            select from pg_stat_activity
            where backend_type = 'client backend' and backend_start < ${session?.at ?? ''}::text::timestamptz)`.catch(
          () => [],
        );
        return row?.at;
      });
      expect(await startTime()).toBe(started);
      await eventually('the job to go back', async () =>
        (await jobRow(sql, jobId)).state === 'pending' ? true : undefined,
      );
      const [end] = await sql<{ at: Date }[]>`
        select ended_at as at from purser.job_history where job_id = ${jobId}`;
      const laterMs = (end?.at.getTime() ?? 0) - back.getTime();
      expect(laterMs).toBeGreaterThan(leaseMs - 500);
    } finally {
      await scheduler.stop();
      await backend.close();
    }
  });

  async function startTime(): Promise<string | undefined> {
    const [row] = await sql<{ at: string }[]>`select pg_postmaster_start_time()::text as at`;
    return row?.at;
  }
});
