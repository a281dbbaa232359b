/**
 * `kill -9` of a worker while it works, in some rounds of the scheduler too: no job is lost, none completes twice.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { describeOnRedis } from '../support/redis.ts';
import { allCompleted } from './auditor.ts';
import type { Audit } from './auditor.ts';
import { say, spread } from './figures.ts';
import { together, until } from './until.ts';
import { dispatchMs, onStage, sweepMs } from './fleet.ts';
import type { BackendKind, Stage } from './fleet.ts';
import type { Proxy } from './proxy.ts';
import type { KeptProcess } from './respawner.ts';

/** Of each worker; two workers are full when one of them is killed, and the other one goes on. */
const jobsAWorker = 50;
const jobsARound = 2 * jobsAWorker;

/** When in the life of a wave of jobs the worker is killed. */
type Moment = 'while they begin' | 'while all run' | 'while they end';
const moments: readonly Moment[] = ['while all run', 'while they end', 'while they begin'];

/** When in a round the scheduler is killed, if at all. */
type SchedulerDeath = 'after its commit' | 'with the worker' | undefined;

/** Of a fleet's rounds the first ones, at another moment in each fleet: to miss a lost entry takes ten seconds. */
const schedulerDeaths: readonly SchedulerDeath[] = [
  'after its commit',
  undefined,
  'with the worker',
];

/** Much longer than it takes to see a commit and to kill. */
const entriesTakeMs = 100;

/** The jobs that had not completed when the worker was killed. */
interface Cut {
  /** It had begun; otherwise it was queued. */
  readonly had_begun: boolean;
  /** From the kill to the begin of its next attempt. */
  readonly ms: number;
}

interface Round {
  readonly cuts: readonly Cut[];
  /** From the kill of the worker until a scheduler ran; undefined where the scheduler was not killed. */
  readonly schedulerStartMs: number | undefined;
}

/** Kills the scheduler when a dispatch of these jobs is committed, while their entries are on the way. */
async function killAfterCommit(
  stage: Stage,
  scheduler: KeptProcess,
  network: Proxy,
  enqueue: () => Promise<string[]>,
): Promise<string[]> {
  network.delay(entriesTakeMs);
  const ids = await enqueue();
  await until('a dispatch', async () => {
    const [queued] = await stage.sql`
      select from purser.in_flight where job_id = any(${ids}::bigint[]) limit 1`;
    return queued !== undefined;
  });
  await scheduler.kill();
  network.delay(0);
  return ids;
}

/**
 * Waves of jobs on two workers; in each wave one worker is killed and restarted. The scheduler reaches its queues through
 * a proxy.
 */
async function killRounds(stage: Stage, rounds: number, first: number): Promise<Round[]> {
  const { redis } = stage;
  const network = await stage.proxyOf(redis === undefined ? 'postgres' : 'redis');
  const scheduler = await stage.keepScheduler(
    redis === undefined
      ? { DATABASE_URL: network.through(stage.databaseUrl) }
      : { REDIS_URL: network.through(redis.url) },
  );
  const workers = [await stage.keepWorker(), await stage.keepWorker()];
  const played: Round[] = [];
  for (let round = first; round < first + rounds; round += 1) {
    const moment = moments[round % moments.length];
    const death = schedulerDeaths[round - first];
    const gate = stage.gate();
    const enqueue = () =>
      stage.enqueue(
        'fault_work',
        Array.from({ length: jobsARound }, (_, index) => ({
          gate,
          ...(index % 2 === 0 ? { completes: true } : {}),
        })),
      );
    const ids =
      death === 'after its commit'
        ? await killAfterCommit(stage, scheduler, network, enqueue)
        : await enqueue();
    await stage.untilStates(ids, moment === 'while they begin' ? 1 : jobsARound, 'running');
    if (moment === 'while they end') await stage.open(gate);
    await sleep(Math.random() * 200);
    const diedAt = performance.now();
    await Promise.all([
      workers[round % 2]?.kill(),
      death === 'with the worker' ? scheduler.kill() : undefined,
    ]);
    const started = scheduler.untilRunning().then(() => performance.now() - diedAt);
    const [killed] = await stage.sql<{ at: Date }[]>`select clock_timestamp() as at`;
    await stage.open(gate);
    await stage.untilStates(ids, jobsARound, 'completed', 'dead_letter', 'cancelled');
    await workers[round % 2]?.untilRunning();
    const schedulerStartMs = await started;
    played.push({
      cuts: await cutsOf(stage, ids, killed?.at ?? new Date()),
      schedulerStartMs: death === undefined ? undefined : schedulerStartMs,
    });
  }
  return played;
}

/** The first begin after the kill of every job that had one. */
const cutsOf = (stage: Stage, ids: readonly string[], killedAt: Date) => stage.sql<Cut[]>`
  select extract(epoch from min(e.at) - ${killedAt})::float8 * 1000 as ms,
         exists (select from job_events l where l.job_id = e.job_id and l.from_state = 'running'
           and l.to_state = 'pending' and l.at > ${killedAt}) as had_begun
  from job_events e
  where e.job_id = any(${[...ids]}::bigint[]) and e.to_state = 'running' and e.at > ${killedAt}
  group by e.job_id`;

/** Jobs whose dispatch was committed and whose queue entry never arrived. */
const lostEntries = (stage: Stage) => stage.sql<{ jobs: number }[]>`
  select count(distinct job_id)::int as jobs from purser.job_history
  where from_state = 'queued' and detail->>'reason' = 'queue entry lost'`;

/** What was running again when, beside the time that it may take on an idle machine. */
function inWords(what: string, rounds: readonly Round[], boundMs: number, bound: string): string {
  const cuts = rounds.flatMap((round) => round.cuts);
  const begun = cuts.filter((cut) => cut.had_begun).map(({ ms }) => ms);
  return (
    `${what}, ${rounds.length} rounds; running again after ${spread(begun)}; bound (${bound}) ` +
    `${(boundMs / 1000).toFixed(2)} s, ${begun.filter((ms) => ms > boundMs).length} above it; ` +
    `not begun yet at the kill: ${spread(cuts.filter((cut) => !cut.had_begun).map(({ ms }) => ms))}`
  );
}

function sayRounds(backend: BackendKind, rounds: readonly Round[], leaseMs: number): void {
  const boundMs = leaseMs + sweepMs + dispatchMs;
  const starts = rounds.flatMap(({ schedulerStartMs }) => schedulerStartMs ?? []);
  const [plain, headless] = [false, true].map((killed) =>
    rounds.filter(({ schedulerStartMs }) => (schedulerStartMs !== undefined) === killed),
  );
  say(inWords(`kill -9, ${backend}`, plain ?? [], boundMs, 'lease + sweep + dispatch'));
  say(
    inWords(
      `kill -9 of the scheduler too, ${backend}`,
      headless ?? [],
      // A scheduler judges leases when it has been answered for one lease itself.
      boundMs + leaseMs + Math.max(0, ...starts),
      'its start + 2 leases + sweep + dispatch',
    ),
  );
}

async function scenario(
  backend: BackendKind,
  lanes: number,
  roundsALane: number,
): Promise<Audit[]> {
  // Lanes are fleets of their own, side by side: most of a round is waiting for a lease.
  const results = await together(
    Array.from({ length: lanes }, (_, lane) =>
      onStage({ backend }, async (stage) => {
        const rounds = await killRounds(stage, roundsALane, lane);
        const audited = await stage.audit();
        const counted = await stage.sql<{ id: string; attempt: number }[]>`
          select id, attempt from background_jobs where attempt <> 1`;
        const [missed] = await lostEntries(stage);
        return { rounds, audited, counted: [...counted], missed, leaseMs: stage.leaseMs };
      }),
    ),
  );
  sayRounds(
    backend,
    results.flatMap(({ rounds }) => rounds),
    results[0]?.leaseMs ?? 0,
  );
  const missed = results.map(({ missed }) => missed?.jobs).join(', ');
  say(`jobs without a queue entry after the death of a scheduler, each fleet: ${missed}`);
  // The death of a worker counts as no job's attempt.
  expect(results.flatMap(({ counted }) => counted)).toEqual([]);
  return results.map(({ audited }) => audited);
}

describeOnRedis(
  'a worker that is killed while it runs 50 jobs, and the scheduler, queues in Redis',
  () => {
    it('loses none of them and completes none twice, in 30 rounds at random moments', async () => {
      const lane = allCompleted(10 * jobsARound);
      expect(await scenario('redis', 3, 10)).toEqual([lane, lane, lane]);
    });
  },
);

describe('a worker that is killed while it runs 50 jobs, and the scheduler, queues in Postgres', () => {
  it('loses none of them and completes none twice', async () => {
    expect(await scenario('postgres', 1, 3)).toEqual([allCompleted(3 * jobsARound)]);
  });
});
