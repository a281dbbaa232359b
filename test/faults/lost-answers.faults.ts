/**
 * A statement is committed and its answer is lost: begin and finish still have the right result. A result that Postgres
 * cannot store fails no other job of its batch.
 */
import { describe, expect, it } from 'vitest';
import { describeOnRedis } from '../support/redis.ts';
import type { StatementTest } from './postgres-wire.ts';
import { allCompleted } from './auditor.ts';
import type { Audit } from './auditor.ts';
import { say } from './figures.ts';
import { until } from './until.ts';
import { onStage } from './fleet.ts';
import type { BackendKind } from './fleet.ts';

const isBegin: StatementTest = (text) => /purser\.begin_attempts/.test(text);
const isFinish: StatementTest = (text) => /purser\.finish_(attempts|completed)/.test(text);
const isCompletion: StatementTest = (text) => /complete_attempt/i.test(text);
const isCommit: StatementTest = (text) => /^\s*commit\b/i.test(text);
const isCommitOfCompletion: StatementTest = (text, before) =>
  isCommit(text, before) && isCompletion(before, '');

const rounds = 5;
const jobsALoss = 8;

async function loseAnswers(backend: BackendKind): Promise<Audit> {
  return onStage({ backend, leaseMs: 30_000 }, async (stage) => {
    const proxy = await stage.proxyOf('postgres');
    await stage.keepScheduler();
    const worker = await stage.keepWorker({ DATABASE_URL: proxy.through(stage.databaseUrl) });
    const lost = new Map<string, string[]>();
    const losing = async (what: string, isWanted: StatementTest, more: object): Promise<void> => {
      const loss = proxy.loseAnswerTo(isWanted);
      const ids = await stage.enqueue(
        'fault_work',
        Array.from({ length: jobsALoss }, () => ({ ms: 50, ...more })),
      );
      await until(`the answer to a ${what} to be lost`, async () => loss.lost() !== undefined);
      await stage.untilStates(ids, jobsALoss, 'completed');
      lost.set(what, [...(lost.get(what) ?? []), ...ids]);
    };
    for (let round = 0; round < rounds; round += 1) {
      await losing('begin', isBegin, {});
      await losing('finish', isFinish, {});
      // Lost before its commit, it is rolled back and repeated; lost after it, it stands.
      await losing('completion', isCompletion, { completes: true });
      await losing('commit of a completion', isCommitOfCompletion, { completes: true });
      await losing('commit', isCommit, { completes: true });
    }
    const audited = await stage.audit();
    const counted = await stage.sql`select attempt, losses from background_jobs where attempt <> 1`;
    expect([...counted]).toEqual([]);
    expect(worker.ended).toEqual([]);
    const again: Record<string, number> = {};
    for (const [what, ids] of lost) {
      const [row] = await stage.sql<{ jobs: number }[]>`
        select count(*)::int as jobs from (
          select from job_events where job_id = any(${ids}::bigint[]) and to_state = 'queued'
          group by job_id having count(*) > 1) again`;
      again[what] = row?.jobs ?? 0;
    }
    say(
      `answers lost, ${rounds} of each; of ${rounds * jobsALoss} jobs ran again: ${JSON.stringify(again)}`,
    );
    // A committed end is found by its token: the job waits for no lease and does not run again.
    expect(again).toMatchObject({ begin: 0, finish: 0, 'commit of a completion': 0 });
    expect(await stage.sql`select from background_jobs where losses > 0`).toHaveLength(0);
    return audited;
  });
}

async function oneBadResult(backend: BackendKind): Promise<Audit> {
  return onStage({ backend }, async (stage) => {
    await stage.keepScheduler();
    await stage.keepWorker({ WORKER_CONCURRENCY: '64' });
    const gate = stage.gate();
    const ids = await stage.enqueue(
      'fault_rest',
      Array.from({ length: 64 }, (_, index) => ({ gate, nul: index === 20 })),
    );
    await stage.untilStates(ids, 64, 'running');
    // All of them end in the same moment, so that they leave in a batch.
    await stage.open(gate);
    const audited = await stage.audit();
    const [bad] = await stage.sql<{ result: { nul: string } }[]>`
      select result from background_jobs where id = ${ids[20] ?? ''}::bigint`;
    expect(bad?.result.nul).toBe('a\uFFFDb');
    const counted = await stage.sql`select from background_jobs where attempt <> 1 or losses > 0`;
    expect(counted).toHaveLength(0);
    return audited;
  });
}

describeOnRedis('lost answers and bad results, queues in Redis', () => {
  it('a begin, a finish or a completion whose answer is lost comes out right', async () => {
    expect(await loseAnswers('redis')).toEqual(allCompleted(5 * rounds * jobsALoss));
  });
  it('a result with a NUL in a batch of 64 fails no other job', async () => {
    expect(await oneBadResult('redis')).toEqual(allCompleted(64));
  });
});

describe('lost answers and bad results, queues in Postgres', () => {
  it('a result with a NUL in a batch of 64 fails no other job', async () => {
    expect(await oneBadResult('postgres')).toEqual(allCompleted(64));
  });
});
