/** A limit of running jobs holds while workers are killed, and no death of a worker uses up a part of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { setJobLimit } from '../../../src/jobs/limits/job-limits.ts';
import { describeOnRedis } from '../../support/redis.ts';
import { allCompleted } from '../auditor.ts';
import { say } from '../figures.ts';
import { onStage } from '../fleet.ts';
import { mostAtOnce } from './history.ts';

const most = 3;
const kills = 12;
const jobs = 150;

describeOnRedis(
  'a tenant that may have 3 jobs at once, 8 slots on 2 workers that are killed, 2 schedulers',
  () => {
    it('never has 4, and has 3 again after every kill', async () => {
      const audited = await onStage({ backend: 'redis' }, async (stage) => {
        const { sql, tenantId } = stage;
        await setJobLimit(sql, { tenantId }, { maxRunning: most, by: 'test' });
        const slots = { WORKER_CONCURRENCY: '4' };
        await stage.keepScheduler();
        await stage.keepScheduler();
        const workers = [await stage.keepWorker(slots), await stage.keepWorker(slots)];
        const ids = await stage.enqueue(
          'fault_work',
          Array.from({ length: jobs }, () => ({ ms: 40 })),
        );
        for (let kill = 0; kill < kills; kill += 1) {
          await stage.untilStates(ids, 1, 'running', 'completed');
          await sleep(Math.random() * 400);
          await workers[kill % 2]?.kill();
          await workers[kill % 2]?.untilRunning();
        }
        await stage.untilStates(ids, jobs, 'completed');
        expect(await mostAtOnce(sql, ids)).toBe(most);
        // None of the limit was lost with a worker: three are in flight, and the others wait.
        const gate = stage.gate();
        const gated = await stage.enqueue(
          'fault_work',
          Array.from({ length: 10 }, () => ({ gate })),
        );
        await stage.untilStates(gated, most, 'running');
        const [row] = await sql`
        select count(*)::int as waiting from purser.waiting where tenant_id = ${tenantId}`;
        expect(row).toEqual({ waiting: 7 });
        await stage.open(gate);
        const lost = await sql`
        select from purser.job_history where detail->>'reason' = 'worker lost'`;
        say(
          `${kills} kills, ${lost.length} attempts lost with their workers, ${jobs} jobs, at most ${most} at once`,
        );
        expect(lost.length).toBeGreaterThan(0);
        return stage.audit();
      });
      expect(audited).toEqual(allCompleted(jobs + 10));
    });
  },
);
