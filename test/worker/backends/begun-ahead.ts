/** Jobs of a short type that begin before their worker has a slot for them, with queues in either store. */
import { describe, expect, it } from 'vitest';
import { requestCancel } from '../../../src/jobs/cancel.ts';
import { rescueLostAttempts } from '../../../src/jobs/sweep.ts';
import type { WorkerServiceOptions } from '../../../src/worker/worker.ts';
import { eventually, untilState } from '../../jobs/job-steps.ts';
import type { Fleet } from '../fleet.ts';
import { ChunkStage } from './chunk-stage.ts';

export function describeBegunAhead(open: () => Promise<Fleet>): void {
  const stage = new ChunkStage(open);

  describe('jobs of a short type that have begun ahead', () => {
    /** Two of them run, the others have begun; the gate is closed. */
    async function beginAhead(
      count: number,
      overrides: Partial<WorkerServiceOptions> = {},
    ): Promise<string[]> {
      await stage.start(() => stage.gate, { concurrency: 2, ...overrides });
      for (const jobId of await stage.addChunks(6, 6))
        await untilState(stage.fleet.test.sql, jobId, 'completed');
      stage.started = [];
      stage.closeGate();
      const ids = await stage.addChunks(count, count);
      await eventually('all to begin', async () => {
        const states = await stage.statesOf(ids);
        return states.every((state) => state === 'running') ? true : undefined;
      });
      await eventually('two to run', () =>
        Promise.resolve(stage.started.length === 2 ? true : undefined),
      );
      await expect.poll(() => stage.activeEntries()).toBe(0);
      return ids;
    }
    const waiting = (ids: readonly string[]) =>
      ids.filter((jobId) => !stage.started.includes(jobId));

    it('run when slots are free, each once', async () => {
      const ids = await beginAhead(12);
      expect(stage.mostAtOnce).toBe(2);
      stage.openGate();
      for (const jobId of ids) await untilState(stage.fleet.test.sql, jobId, 'completed');
      expect(stage.started.toSorted()).toEqual(ids.toSorted());
      expect(stage.mostAtOnce).toBe(2);
    });

    it('have leases that are renewed, and can be cancelled before they run', async () => {
      const ids = await beginAhead(5, { leaseMs: 2_000 });
      const [cancelled, lost] = waiting(ids);
      if (cancelled === undefined || lost === undefined) throw new Error('none waits');
      const { sql } = stage.fleet.test;
      const leased = async () =>
        (
          await sql<{ until: Date }[]>`
          select min(expires_at) as until from purser.in_flight where job_id = any(${ids}::bigint[])`
        )[0]?.until ?? new Date(0);
      const before = await leased();
      await eventually('a renewal', async () => ((await leased()) > before ? true : undefined));
      await requestCancel(sql, { jobId: cancelled, by: 'ops', reason: 'wrong' });
      expect(await untilState(sql, cancelled, 'cancelled')).toMatchObject({
        state_detail: { by: 'ops', reason: 'wrong' },
      });
      // Another worker takes it over: here it must not run.
      await sql`update purser.in_flight set expires_at = now() - interval '1 day' where job_id = ${lost}`;
      await rescueLostAttempts(sql);
      await sql`delete from background_jobs where id = ${lost} and state = 'pending'`;
      const stale = async () => (await stage.fleet.metrics.staleTokens.get()).values[0]?.value ?? 0;
      await eventually('the loss to be noticed', async () =>
        (await stale()) > 0 ? true : undefined,
      );
      stage.openGate();
      for (const jobId of ids.filter((id) => id !== cancelled && id !== lost)) {
        await untilState(sql, jobId, 'completed');
      }
      expect(stage.started).not.toContain(cancelled);
      expect(stage.started).not.toContain(lost);
    });

    it.each([
      ['at once when the worker stops', true],
      ['when no slot becomes free soon', false],
    ])('go back %s, uncounted, and no one is blamed', async (_, stops) => {
      const ids = await beginAhead(8, stops ? {} : { recallMs: 2_000 });
      const stopped = stops ? stage.stop() : undefined;
      const back = waiting(ids);
      expect(back).toHaveLength(6);
      for (const jobId of back) {
        expect(await untilState(stage.fleet.test.sql, jobId, 'pending')).toMatchObject({
          attempt: 0,
          losses: 0,
          suspect: false,
        });
      }
      stage.openGate();
      await stopped;
      for (const jobId of stage.started) await untilState(stage.fleet.test.sql, jobId, 'completed');
      expect(stage.started).toHaveLength(2);
      await stage.remove(back);
    });

    it('are none that were lost once', async () => {
      await beginAhead(3);
      const { sql } = stage.fleet.test;
      const ids = [await stage.addJob(), await stage.addJob()];
      await sql`update background_jobs set losses = 1 where id = ${ids[0] ?? ''}`;
      await stage.dispatch(2);
      await untilState(sql, ids[1] ?? '', 'running');
      expect(await stage.stateOf(ids[0] ?? '')).toBe('queued');
      stage.openGate();
      for (const jobId of ids) await untilState(sql, jobId, 'completed');
    });
  });
}
