/** Postgres is restarted, fast and immediate, or its network fails, under load: every accepted job ends once. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, inject, it } from 'vitest';
import { describeOnRedis } from '../support/redis.ts';
import type { Proxy } from './proxy.ts';
import { allCompleted } from './auditor.ts';
import type { Audit } from './auditor.ts';
import { say } from './figures.ts';
import { throughTroubles, troublesEach } from './network-troubles.ts';
import { outageWaitMs, until } from './until.ts';
import { onStage } from './fleet.ts';
import type { BackendKind, Stage } from './fleet.ts';

const works = (count: number) =>
  Array.from({ length: count }, (_, index) => ({
    ms: index % 5 === 0 ? 400 : 30,
    ...(index % 2 === 0 ? { completes: true } : {}),
  }));

async function postmasterPid(): Promise<number> {
  const text = await readFile(join(inject('postgresFolder'), 'postmaster.pid'), 'utf8');
  return Number(text.split('\n')[0]);
}

const jobsARestart = 300;

/** Shuts down the run's Postgres in this mode; its guardian restarts it on the same port. */
async function restart(stage: Stage, how: 'fast' | 'immediate'): Promise<void> {
  const before = await postmasterPid();
  process.kill(before, how === 'fast' ? 'SIGINT' : 'SIGQUIT');
  await until('Postgres to come back', async () => {
    if ((await postmasterPid()) === before) return false;
    await stage.sql`select 1`;
    return true;
  });
}

async function auditInWords(stage: Stage, what: string, withinMs?: number): Promise<Audit> {
  const audited = await stage.audit(withinMs);
  const [row] = await stage.sql<{ again: number; lost: number; retried: number }[]>`
    select (select count(*)::int from (
             select from job_events where to_state = 'queued' group by job_id having count(*) > 1) d) as again,
           count(*) filter (where losses > 0)::int as lost,
           count(*) filter (where attempt > 1)::int as retried from background_jobs`;
  say(
    `${what}: of ${audited.jobs} jobs ${row?.again} were dispatched again, ${row?.retried} needed a second ` +
      `attempt, ${row?.lost} counted a loss`,
  );
  return audited;
}

/** Accepts jobs, through the outage too: what was refused is accepted by a later try. */
async function accept(stage: Stage, count: number): Promise<string[]> {
  let ids: string[] = [];
  await until('jobs to be accepted', async () => {
    ids = await stage.enqueue('fault_work', works(count));
    return true;
  });
  return ids;
}

async function restarts(
  backend: BackendKind,
  hows: readonly ('fast' | 'immediate')[],
): Promise<Audit> {
  return onStage({ backend }, async (stage) => {
    const scheduler = await stage.keepScheduler();
    const workers = [
      await stage.keepWorker({ WORKER_CONCURRENCY: '20' }),
      await stage.keepWorker({ WORKER_CONCURRENCY: '20' }),
    ];
    const ids: string[] = [];
    for (const how of hows) {
      ids.push(...(await accept(stage, jobsARestart)));
      await stage.untilStates(ids, ids.length - 200, 'completed');
      await restart(stage, how);
    }
    const audited = await auditInWords(stage, `Postgres restarted ${hows.join(', ')}, ${backend}`);
    // No crash loop: the processes of the beginning are still there.
    expect([scheduler, ...workers].flatMap(({ ended }) => ended)).toEqual([]);
    return audited;
  });
}

const waves = 2 * troublesEach;
const jobsAWave = 150;

async function cutOff(stage: Stage): Promise<Audit> {
  const [forScheduler, forWorker] = [
    await stage.proxyOf('postgres'),
    await stage.proxyOf('postgres'),
  ];
  const through = (proxy: Proxy) => ({
    DATABASE_URL: proxy.through(stage.databaseUrl),
    WORKER_CONCURRENCY: '20',
  });
  const kept = [
    await stage.keepScheduler(through(forScheduler)),
    await stage.keepWorker(through(forWorker)),
    // Its network is always in order, so that what the other one loses has somewhere to go.
    await stage.keepWorker({ WORKER_CONCURRENCY: '20' }),
  ];
  const ids: string[] = [];
  const wave = async (disturb: () => Promise<void>) => {
    ids.push(...(await accept(stage, jobsAWave)));
    await disturb();
    await stage.untilStates(ids, ids.length - 100, 'completed');
  };
  const took = await throughTroubles(
    { scheduler: forScheduler, worker: forWorker },
    wave,
    3 * stage.leaseMs,
  );
  const audited = await auditInWords(stage, 'Postgres cut, refused, slow and half-open');
  say(`${took}; processes that ended meanwhile: ${kept.flatMap(({ ended }) => ended).length}`);
  return audited;
}

const jobsForGood = 200;
/** The scheduler that could take over a lost attempt is cut off itself, until it ends as stalled after two minutes. */
const stalledMs = 180_000;

/** The worst network: what is half-open stays so, and only new connections work. */
async function halfOpenForGood(stage: Stage): Promise<Audit> {
  const proxy = await stage.proxyOf('postgres');
  const env = { DATABASE_URL: proxy.through(stage.databaseUrl), WORKER_CONCURRENCY: '20' };
  const kept = [await stage.keepScheduler(env), await stage.keepWorker(env)];
  const ids = await accept(stage, jobsForGood);
  await stage.untilStates(ids, 50, 'completed');
  proxy.halfOpen();
  proxy.pass({ forgetMute: false });
  // After two minutes without an answer the process is stalled and ends; the rest begins only then.
  const audited = await auditInWords(stage, 'Postgres half-open for good', 2 * outageWaitMs);
  say(
    `half-open for good: processes that ended: ` +
      kept.map(({ ended }) => ended.map(({ code, signal }) => code ?? signal).join()).join(' / '),
  );
  return audited;
}

describeOnRedis('a fleet whose Postgres fails, queues in Redis', () => {
  it('ends every job when Postgres is restarted, fast and immediate', async () => {
    const audited = await restarts('redis', ['fast', 'immediate']);
    expect(audited).toEqual(allCompleted(2 * jobsARestart));
  });

  it('ends every job when its connections to Postgres are cut, refused, slow and half-open', async () => {
    const audited = await onStage({ backend: 'redis' }, cutOff);
    expect(audited).toEqual(allCompleted(waves * jobsAWave));
  });

  it('ends every job when half-open connections to Postgres report no error', async () => {
    const audited = await onStage({ backend: 'redis', staleLeaseMs: stalledMs }, halfOpenForGood);
    expect(audited).toEqual(allCompleted(jobsForGood));
  });
});

describe('a fleet whose Postgres fails, queues in Postgres', () => {
  it('ends every job when Postgres is restarted at once', async () => {
    const audited = await restarts('postgres', ['immediate']);
    expect(audited).toEqual(allCompleted(jobsARestart));
  });
});
