/** `kill -9` of a worker while it works: no job is lost, none completes twice. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { describeOnRedis } from '../support/redis.ts';
import { allCompleted } from './auditor.ts';
import type { Audit } from './auditor.ts';
import { say, spread } from './figures.ts';
import { together } from './until.ts';
import { dispatchMs, onStage, sweepMs } from './fleet.ts';
import type { BackendKind, Stage } from './fleet.ts';

/** Of each worker; two workers are full when one of them is killed, and the other one goes on. */
const jobsAWorker = 50;
const jobsARound = 2 * jobsAWorker;

/** When in the life of a wave of jobs the worker is killed. */
type Moment = 'while they begin' | 'while all run' | 'while they end';
const moments: readonly Moment[] = ['while all run', 'while they end', 'while they begin'];

/** The jobs that had not completed when the worker was killed. */
interface Cut {
  /** It had begun; otherwise it was queued. */
  readonly had_begun: boolean;
  /** From the kill to the begin of its next attempt. */
  readonly ms: number;
}

/** Waves of jobs on two workers; in each wave one worker is killed and restarted. */
async function killRounds(stage: Stage, rounds: number, first: number): Promise<Cut[]> {
  await stage.keepScheduler();
  const workers = [await stage.keepWorker(), await stage.keepWorker()];
  const cuts: Cut[] = [];
  for (let round = first; round < first + rounds; round += 1) {
    const moment = moments[round % moments.length];
    const gate = stage.gate();
    const ids = await stage.enqueue(
      'fault_work',
      Array.from({ length: jobsARound }, (_, index) => ({
        gate,
        ...(index % 2 === 0 ? { completes: true } : {}),
      })),
    );
    await stage.untilStates(ids, moment === 'while they begin' ? 1 : jobsARound, 'running');
    if (moment === 'while they end') await stage.open(gate);
    await sleep(Math.random() * 200);
    await workers[round % 2]?.kill();
    const [killed] = await stage.sql<{ at: Date }[]>`select clock_timestamp() as at`;
    await stage.open(gate);
    await stage.untilStates(ids, jobsARound, 'completed', 'dead_letter', 'cancelled');
    await workers[round % 2]?.untilRunning();
    cuts.push(...(await cutsOf(stage, ids, killed?.at ?? new Date())));
  }
  return cuts;
}

/** The first begin after the kill of every job that had one. */
const cutsOf = (stage: Stage, ids: readonly string[], killedAt: Date) => stage.sql<Cut[]>`
  select extract(epoch from min(e.at) - ${killedAt})::float8 * 1000 as ms,
         exists (select from job_events l where l.job_id = e.job_id and l.from_state = 'running'
           and l.to_state = 'pending' and l.at > ${killedAt}) as had_begun
  from job_events e
  where e.job_id = any(${[...ids]}::bigint[]) and e.to_state = 'running' and e.at > ${killedAt}
  group by e.job_id`;

async function scenario(
  backend: BackendKind,
  lanes: number,
  roundsALane: number,
): Promise<Audit[]> {
  // Lanes are fleets of their own, side by side: most of a round is waiting for a lease.
  const results = await together(
    Array.from({ length: lanes }, (_, lane) =>
      onStage({ backend }, async (stage) => {
        const cuts = await killRounds(stage, roundsALane, lane);
        const audited = await stage.audit();
        const counted = await stage.sql<{ id: string; attempt: number }[]>`
          select id, attempt from background_jobs where attempt <> 1`;
        return { cuts, audited, counted: [...counted], leaseMs: stage.leaseMs };
      }),
    ),
  );
  const cuts = results.flatMap((result) => result.cuts);
  const begun = cuts.filter((cut) => cut.had_begun).map(({ ms }) => ms);
  const boundMs = (results[0]?.leaseMs ?? 0) + sweepMs + dispatchMs;
  say(
    `kill -9, ${backend}, ${lanes * roundsALane} rounds; running again after ${spread(begun)}; ` +
      `bound (lease + sweep + dispatch) ${(boundMs / 1000).toFixed(2)} s, ` +
      `${begun.filter((ms) => ms > boundMs).length} above it; not begun yet at the kill: ` +
      spread(cuts.filter((cut) => !cut.had_begun).map(({ ms }) => ms)),
  );
  // The death of a worker counts as no job's attempt.
  expect(results.flatMap(({ counted }) => counted)).toEqual([]);
  return results.map(({ audited }) => audited);
}

describeOnRedis('a worker that is killed while it runs 50 jobs, queues in Redis', () => {
  it('loses none of them and completes none twice, in 30 rounds at random moments', async () => {
    const lane = allCompleted(10 * jobsARound);
    expect(await scenario('redis', 3, 10)).toEqual([lane, lane, lane]);
  });
});

describe('a worker that is killed while it runs 50 jobs, queues in Postgres', () => {
  it('loses none of them and completes none twice', async () => {
    expect(await scenario('postgres', 1, 3)).toEqual([allCompleted(3 * jobsARound)]);
  });
});
