/** What a worker makes of queue entries with many jobs, with queues in either store. */
import { describe, expect, it } from 'vitest';
import { eventually, jobRow, untilState } from '../../jobs/job-steps.ts';
import type { Fleet } from '../fleet.ts';
import { ChunkStage, jobType } from './chunk-stage.ts';

export function describeChunks(open: () => Promise<Fleet>): void {
  const stage = new ChunkStage(open);

  describe('the jobs of an entry', () => {
    it('all run once, no more at once than the worker has slots', async () => {
      await stage.start(async ({ attempt }) => attempt);
      const ids = await stage.addChunks(30, 12);
      for (const jobId of ids) await untilState(stage.fleet.test.sql, jobId, 'completed');
      expect(stage.started.toSorted()).toEqual(ids.toSorted());
      expect(stage.mostAtOnce).toBeLessThanOrEqual(4);
      await expect.poll(() => stage.activeEntries()).toBe(0);
    });

    it('have tokens with secrets of their own', async () => {
      await stage.start(async ({ sql }) => {
        const [row] = await sql<{
          token: string;
        }>`select current_setting('purser.token') as token`;
        return row?.token;
      });
      const ids = await stage.addChunks(12, 12);
      const secrets = new Set<string>();
      for (const jobId of ids) {
        const { result } = await untilState(stage.fleet.test.sql, jobId, 'completed');
        // The first half is the id of the job.
        secrets.add(String(result).slice('00000000-0000-0000-'.length));
      }
      expect(secrets.size).toBe(ids.length);
    });

    it('run no more at once than their handler allows', async () => {
      await stage.start(async () => 'ok', {}, 2);
      const ids = await stage.addChunks(20, 20);
      for (const jobId of ids) await untilState(stage.fleet.test.sql, jobId, 'completed');
      expect(stage.mostAtOnce).toBeLessThanOrEqual(2);
    });

    it('that fail are no failure of the entry, and those that were cancelled are skipped', async () => {
      stage.closeGate();
      await stage.start(async ({ jobId }) => {
        if (jobId === stage.started[0]) throw new Error('broken');
      });
      const { sql } = stage.fleet.test;
      const ids = await stage.addChunks(6, 6);
      const cancelled = ids[5] ?? '';
      await sql`
        update background_jobs set state = 'cancelled', finished_at = now() where id = ${cancelled} and state = 'queued'`;
      const states = async () => (await stage.statesOf(ids)).toSorted();
      await eventually('their ends', async () =>
        (await states()).every((state) => state !== 'queued' && state !== 'running')
          ? true
          : undefined,
      );
      expect((await states()).filter((state) => state === 'dead_letter')).toHaveLength(1);
      expect(await stage.fleet.transport.queue(jobType).getFailedCount()).toBe(0);
    });

    it('that cannot begin soon go back uncounted, and the others of the entry run on', async () => {
      stage.closeGate();
      await stage.start(() => stage.gate, { concurrency: 2, slotWaitMs: 1_000 });
      const ids = await stage.addChunks(5, 5);
      await eventually('three to go back', async () => {
        const states = await stage.statesOf(ids);
        return states.filter((state) => state === 'pending').length === 3 ? true : undefined;
      });
      expect(stage.started).toHaveLength(2);
      stage.openGate();
      for (const jobId of stage.started) await untilState(stage.fleet.test.sql, jobId, 'completed');
      const back = ids.filter((jobId) => !stage.started.includes(jobId));
      for (const jobId of back) {
        expect(await jobRow(stage.fleet.test.sql, jobId)).toMatchObject({ attempt: 0, losses: 0 });
      }
      await stage.remove(back);
    });

    it('that have not begun go back at once when the worker stops', async () => {
      stage.closeGate();
      await stage.start(() => stage.gate, { concurrency: 2 });
      const ids = await stage.addChunks(8, 8);
      await eventually('two to run', () =>
        Promise.resolve(stage.started.length === 2 ? true : undefined),
      );
      const stopped = stage.stop();
      await eventually('the others to go back', async () => {
        const states = await stage.statesOf(ids);
        return states.filter((state) => state === 'pending').length === 6 ? true : undefined;
      });
      stage.openGate();
      await stopped;
      for (const jobId of stage.started) expect(await stage.stateOf(jobId)).toBe('completed');
      expect(stage.started).toHaveLength(2);
      await stage.remove(ids);
    });
  });
}
