/** `kill -9`, twice, of a worker that has begun hundreds of jobs ahead: those that never ran are blamed for nothing. */
import { expect, it } from 'vitest';
import { describeOnRedis } from '../support/redis.ts';
import { allCompleted } from './auditor.ts';
import { onStage } from './fleet.ts';
import type { Stage } from './fleet.ts';
import { until } from './until.ts';

const slots = 8;
const ahead = 400;

/** Jobs whose handler ran, by their traces. */
const started = (stage: Stage) => stage.sql<{ job_id: string }[]>`
  select distinct job_id from fault_effects where kind = 'begun'`;

/** Until the worker and the scheduler know that the type is short. */
async function warmUp(stage: Stage): Promise<number> {
  let jobs = 0;
  await until('the run time to be known as short', async () => {
    const ids = await stage.enqueue(
      'fault_short',
      Array.from({ length: 20 }, () => ({})),
    );
    jobs += ids.length;
    await stage.untilStates(ids, ids.length, 'completed');
    // A beat that knows the run times of all of them: nothing ends after it.
    const [ended] = await stage.sql<{ at: Date }[]>`select clock_timestamp() as at`;
    await until('the next beat of the worker', async () => {
      const later = await stage.sql`
        select from heartbeats where role = 'worker' and beat_at > ${ended?.at ?? null}`;
      return later.length > 0;
    });
    const [beat] = await stage.sql<{ short: boolean }[]>`
      select coalesce(min(r.ms) <= 0.25, false) as short
      from heartbeats h cross join unnest(h.job_types, h.type_run_ms) r (job_type, ms)
      where h.role = 'worker' and r.job_type = 'fault_short'`;
    return beat?.short === true;
  });
  return jobs;
}

describeOnRedis('400 jobs that a worker has begun ahead', () => {
  it('are all completed once after two deaths of the worker, uncounted, and none that never ran is a suspect', async () => {
    await onStage({ backend: 'redis' }, async (stage) => {
      await stage.keepScheduler();
      const worker = await stage.keepWorker({ WORKER_CONCURRENCY: String(slots) });
      const warm = await warmUp(stage);
      const gate = stage.gate();
      const ids = await stage.enqueue(
        'fault_short',
        Array.from({ length: ahead + slots }, () => ({ gate })),
      );
      // All of them: one that the second worker met as new would hold a slot until its timeout.
      await stage.untilStates(ids, ids.length, 'running');
      await worker.kill();
      const running = async () => {
        const [row] = await stage.sql<{ jobs: number }[]>`
          select count(*)::int as jobs from background_jobs j where state = 'running' and losses = 1
            and exists (select from fault_effects e where e.job_id = j.id and e.token = j.attempt_token)`;
        return row?.jobs ?? 0;
      };
      await worker.untilRunning();
      // What was lost once is begun when it can run, and not before.
      await until('lost jobs to run in all slots', async () => (await running()) === slots);
      await worker.kill();
      await until('them to be rescued', async () => {
        const [row] = await stage.sql<{ jobs: number }[]>`
          select count(*)::int as jobs from background_jobs where losses >= 2`;
        return (row?.jobs ?? 0) >= slots;
      });
      const suspects = await stage.sql<{ id: string; started: boolean }[]>`
        select id, exists (select from fault_effects e where e.job_id = j.id and e.kind = 'begun') as started
        from background_jobs j where suspect`;
      expect(suspects.length).toBeLessThanOrEqual(slots);
      expect(suspects.filter((job) => !job.started)).toEqual([]);
      await stage.open(gate);
      expect(await stage.audit()).toEqual(allCompleted(warm + ids.length));
      const counted = await stage.sql`select id, attempt from background_jobs where attempt <> 1`;
      expect([...counted]).toEqual([]);
      expect((await started(stage)).length).toBeGreaterThanOrEqual(ids.length);
    });
  });
});
