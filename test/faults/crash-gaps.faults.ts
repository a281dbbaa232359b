/**
 * `kill -9` of a worker between two steps of an attempt: its begin is committed and no thread knows of it, its handler
 * has returned and the end is on the way, its end is committed and the worker does not know. The gap between a dispatch
 * and its entries is in killed-worker.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { describeOnRedis } from '../support/redis.ts';
import { allCompleted } from './auditor.ts';
import { onStage } from './fleet.ts';
import type { Stage } from './fleet.ts';
import type { StatementTest } from './postgres-wire.ts';
import type { Proxy } from './proxy.ts';
import type { KeptProcess } from './respawner.ts';
import { until } from './until.ts';

const jobs = 8;
/** Of every chunk between the worker and Postgres: it cannot ask again before it is killed. */
const slowMs = 300;

const isBegin: StatementTest = (text) => /purser\.begin_attempts/.test(text);
const isFinish: StatementTest = (text) => /purser\.finish_completed/.test(text);

interface Actors {
  readonly stage: Stage;
  readonly worker: KeptProcess;
  readonly network: Proxy;
}

/** Kills the worker when Postgres has carried out this statement of it, whose answer never arrives. */
async function killAfter({ worker, network }: Actors, isWanted: StatementTest): Promise<void> {
  network.delay(slowMs);
  const loss = network.loseAnswerTo(isWanted);
  await until('the answer to be lost', async () => loss.lost() !== undefined);
  await worker.kill();
  network.delay(0);
}

async function play(
  jobType: string,
  payload: (gate: string) => object,
  act: (actors: Actors, ids: readonly string[], gate: string) => Promise<void>,
): Promise<{ readonly lost: number; readonly ran: number }> {
  return onStage({ backend: 'redis' }, async (stage) => {
    await stage.keepScheduler();
    const network = await stage.proxyOf('postgres');
    const worker = await stage.keepWorker({
      DATABASE_URL: network.through(stage.databaseUrl),
      WORKER_CONCURRENCY: String(jobs),
    });
    const gate = stage.gate();
    const ids = await stage.enqueue(
      jobType,
      Array.from({ length: jobs }, () => payload(gate)),
    );
    await act({ stage, worker, network }, ids, gate);
    await worker.untilRunning();
    await stage.open(gate);
    expect(await stage.audit()).toEqual(allCompleted(jobs));
    const [row] = await stage.sql<{ lost: number; ran: number }[]>`
      select (select count(*)::int from purser.job_history where error_code = 'worker_lost') as lost,
        (select count(*)::int from fault_effects where kind = 'begun') as ran`;
    if (row === undefined) throw new Error('not counted');
    return row;
  });
}

describeOnRedis('a worker that is killed', () => {
  it('after the commit of a begin loses attempts whose handlers never ran', async () => {
    const { lost, ran } = await play(
      'fault_work',
      () => ({}),
      (actors) => killAfter(actors, isBegin),
    );
    expect(lost).toBeGreaterThan(0);
    expect(ran).toBe(jobs);
  });

  it('after its handlers returned and before their ends arrive, loses them all, and they run again', async () => {
    const { lost } = await play(
      'fault_rest',
      (gate) => ({ gate }),
      async ({ stage, worker, network }, ids, gate) => {
        await stage.untilStates(ids, jobs, 'running');
        network.delay(60_000);
        await stage.open(gate);
        await sleep(1_000);
        await worker.kill();
        network.delay(0);
      },
    );
    expect(lost).toBe(jobs);
  });

  it('after the commit of an end loses none of those that it ended', async () => {
    const { lost, ran } = await play(
      'fault_work',
      (gate) => ({ gate }),
      async (actors, ids, gate) => {
        await actors.stage.untilStates(ids, jobs, 'running');
        // Each has left its trace, and only its end is still to come.
        await until('the handlers to wait', async () => {
          const traces = await actors.stage.sql`select from fault_effects where kind = 'begun'`;
          return traces.length === jobs;
        });
        const killed = killAfter(actors, isFinish);
        await actors.stage.open(gate);
        await killed;
      },
    );
    expect(lost).toBeLessThan(jobs);
    // One that had ended did not run again.
    expect(ran).toBe(jobs + lost);
  });
});
