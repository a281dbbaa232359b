/** The limits of a group hold while workers and schedulers are killed, and no death uses up a part of them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { setJobLimit } from '../../../src/jobs/limits/job-limits.ts';
import { addTenant } from '../../support/tenants.ts';
import { describeOnRedis } from '../../support/redis.ts';
import { allCompleted } from '../auditor.ts';
import { say } from '../figures.ts';
import { onStage } from '../fleet.ts';
import type { Stage } from '../fleet.ts';
import { mostAtOnce, mostStarts } from './history.ts';

const group = 'upstream:eu';
const most = 3;
const rate = 10;
/** PURSER_RATE_WINDOW_SECONDS: another one than 6, such as a minute. */
const windowSeconds = Number(process.env['PURSER_RATE_WINDOW_SECONDS'] ?? 6);

interface Fleet {
  readonly workers: readonly { kill(): Promise<unknown>; untilRunning(): Promise<unknown> }[];
  readonly schedulers: Fleet['workers'];
  /** Of two tenants, half each. */
  readonly ids: readonly string[];
}

async function start(stage: Stage, jobs: number, ms: number): Promise<Fleet> {
  const tenantId = await addTenant(stage.sql, { limitUsd: '5' });
  await stage.sql`update tenant_schedules set enabled = false`;
  const slots = { WORKER_CONCURRENCY: '4' };
  const schedulers = [await stage.keepScheduler(), await stage.keepScheduler()];
  const workers = [await stage.keepWorker(slots), await stage.keepWorker(slots)];
  const payloads = Array.from({ length: jobs / 2 }, () => ({ ms }));
  const ids = [
    ...(await stage.enqueue('fault_work', payloads, { group })),
    ...(await stage.enqueue('fault_work', payloads, { group, tenantId })),
  ];
  return { workers, schedulers, ids };
}

describeOnRedis(
  'a group of two tenants, 8 slots on 2 workers that are killed, 2 schedulers of which one is killed too',
  () => {
    it('never has 4 at once of 3, and has 3 again after every kill', async () => {
      const jobs = 120;
      const audited = await onStage({ backend: 'redis' }, async (stage) => {
        const { sql } = stage;
        await setJobLimit(sql, { group }, { maxRunning: most, by: 'test' });
        const { workers, schedulers, ids } = await start(stage, jobs, 40);
        for (let kill = 0; kill < 9; kill += 1) {
          await stage.untilStates(ids, 1, 'running', 'completed');
          await sleep(Math.random() * 400);
          const victim = kill % 3 === 2 ? schedulers[0] : workers[kill % 3];
          await victim?.kill();
          await victim?.untilRunning();
        }
        await stage.untilStates(ids, jobs, 'completed');
        expect(await mostAtOnce(sql, ids)).toBe(most);
        const gate = stage.gate();
        const gates = Array.from({ length: 10 }, () => ({ gate }));
        const gated = await stage.enqueue('fault_work', gates, { group });
        await stage.untilStates(gated, most, 'running');
        const [row] = await sql`select count(*)::int as waiting from purser.waiting`;
        expect(row).toEqual({ waiting: 7 });
        await stage.open(gate);
        return stage.audit();
      });
      expect(audited).toEqual(allCompleted(jobs + 10));
    });

    it(`never starts 11 of 10 in any window, and starts 10 in each`, async () => {
      const jobs = 60;
      const audited = await onStage({ backend: 'redis' }, async (stage) => {
        const { sql } = stage;
        const limit = { maxStarts: rate, perSeconds: windowSeconds, by: 'test' };
        await setJobLimit(sql, { group }, limit);
        const began = Date.now();
        const { workers, schedulers, ids } = await start(stage, jobs, 300);
        for (let kill = 0; kill < 6; kill += 1) {
          await stage.untilStates(ids, 1, 'running', 'completed');
          await sleep(Math.random() * 1_000 * windowSeconds);
          const victim = kill % 3 === 2 ? schedulers[0] : workers[kill % 3];
          await victim?.kill();
          await victim?.untilRunning();
        }
        for (let ended = rate; ended <= jobs; ended += rate) {
          await stage.untilStates(ids, ended, 'completed');
        }
        const [lost] = await sql<{ lost: number }[]>`
          select count(*)::int as lost from purser.job_history where detail->>'reason' = 'worker lost'`;
        say(
          `${jobs} jobs and ${lost?.lost ?? 0} lost attempts in ${((Date.now() - began) / 1000).toFixed(0)} s ` +
            `at ${rate} in ${windowSeconds} s`,
        );
        expect(await mostStarts(sql, ids, windowSeconds)).toBe(rate);
        return stage.audit();
      });
      expect(audited).toEqual(allCompleted(jobs));
    });
  },
);
