/** Redis loses all data, stops for 20 seconds, or its network fails: every accepted job ends once. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { describeOnRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { allCompleted } from './auditor.ts';
import type { Audit } from './auditor.ts';
import { say } from './figures.ts';
import { throughTroubles, troublesEach } from './network-troubles.ts';
import { onStage } from './fleet.ts';
import type { Stage } from './fleet.ts';

const works = (count: number) =>
  Array.from({ length: count }, (_, index) => ({
    ms: index % 7 === 0 ? 300 : 20,
    ...(index % 2 === 0 ? { completes: true } : {}),
  }));

function redisOf(stage: Stage): TestRedis {
  if (stage.redis === undefined) throw new Error('this stage has no Redis');
  return stage.redis;
}

/** The audit, and no job began more than one attempt. */
async function auditUnharmed(stage: Stage): Promise<Audit> {
  const audited = await stage.audit();
  const counted = await stage.sql`select id, attempt from background_jobs where attempt <> 1`;
  expect([...counted]).toEqual([]);
  return audited;
}

const openFleet = async (stage: Stage, env: Record<string, string> = {}) =>
  Promise.all([
    stage.keepScheduler(env),
    stage.keepWorker({ WORKER_CONCURRENCY: '20', ...env }),
    stage.keepWorker({ WORKER_CONCURRENCY: '20', ...env }),
  ]);

/** The queue's content and the jobs' ends as text. */
async function inWords(stage: Stage, what: string): Promise<void> {
  const [row] = await stage.sql<{ again: number; lost: number }[]>`
    select (select count(*)::int from (
             select from job_events where to_state = 'queued' group by job_id having count(*) > 1) d) as again,
           count(*) filter (where losses > 0)::int as lost from background_jobs`;
  say(`${what}: ${row?.again} jobs were dispatched again, ${row?.lost} counted a loss`);
}

/** FLUSHALL three times during 2,000 jobs. */
async function flushed(stage: Stage): Promise<Audit> {
  const fleet = await openFleet(stage);
  const client = new Redis(redisOf(stage).url);
  try {
    const ids = await stage.enqueue('fault_work', works(2_000));
    for (const done of [100, 700, 1_400]) {
      await stage.untilStates(ids, done, 'completed');
      await client.flushall();
    }
    const audited = await auditUnharmed(stage);
    expect(fleet.flatMap(({ ended }) => ended)).toEqual([]);
    await inWords(stage, 'FLUSHALL three times under 2,000 jobs');
    return audited;
  } finally {
    client.disconnect();
  }
}

/** SIGKILL under load, and an empty Redis 20 s later. */
async function killed(stage: Stage): Promise<Audit> {
  const fleet = await openFleet(stage);
  const redis = redisOf(stage);
  const ids = await stage.enqueue('fault_work', works(600));
  await stage.untilStates(ids, 100, 'completed');
  await redis.kill();
  // Accepted is committed; no queue is asked.
  await stage.enqueue('fault_work', works(200));
  await sleep(20_000);
  await redis.start();
  const audited = await auditUnharmed(stage);
  expect(fleet.flatMap(({ ended }) => ended)).toEqual([]);
  await inWords(stage, 'Redis killed for 20 s under 800 jobs');
  return audited;
}

const waves = 2 * troublesEach;
const jobsAWave = 150;

/** The network of the scheduler first, then that of the workers. */
async function cutOff(stage: Stage): Promise<Audit> {
  const { url } = redisOf(stage);
  const [forScheduler, forWorkers] = [await stage.proxyOf('redis'), await stage.proxyOf('redis')];
  await stage.keepScheduler({ REDIS_URL: forScheduler.through(url) });
  const env = { REDIS_URL: forWorkers.through(url), WORKER_CONCURRENCY: '20' };
  await stage.keepWorker(env);
  await stage.keepWorker(env);
  const ids: string[] = [];
  const wave = async (disturb: () => Promise<void>) => {
    ids.push(...(await stage.enqueue('fault_work', works(jobsAWave))));
    await disturb();
    await stage.untilStates(ids, ids.length - 100, 'completed');
  };
  const took = await throughTroubles(
    { scheduler: forScheduler, workers: forWorkers },
    wave,
    3 * stage.leaseMs,
  );
  const audited = await auditUnharmed(stage);
  await inWords(stage, `Redis cut, refused, slow and half-open under ${ids.length} jobs (${took})`);
  return audited;
}

describeOnRedis('a fleet whose Redis fails', () => {
  it('ends 2,000 jobs through repeated FLUSHALL', async () => {
    expect(await onStage({ backend: 'redis' }, flushed)).toEqual(allCompleted(2_000));
  });

  it('ends every job when Redis is killed and restarts empty after 20 s; work is accepted meanwhile', async () => {
    expect(await onStage({ backend: 'redis' }, killed)).toEqual(allCompleted(800));
  });

  it('ends every job when its connections to Redis are cut, refused, slow and half-open', async () => {
    const audited = await onStage({ backend: 'redis' }, cutOff);
    expect(audited).toEqual(allCompleted(waves * jobsAWave));
  });
});
