/** A worker under a stop of its jobs, and one that drains, with queues in either store. */
import { describe, expect, it } from 'vitest';
import { resumeWork } from '../../../src/jobs/pauses.ts';
import type { Operator } from '../../../src/operations/audit.ts';
import { drainWorkers, readDrain } from '../../../src/operations/workers/drain.ts';
import type { DrainProgress } from '../../../src/operations/workers/drain.ts';
import { fleetSlots } from '../../../src/db/heartbeats.ts';
import { stopWork } from '../../../src/operations/stop/stop.ts';
import type { StopAnswer } from '../../../src/operations/stop/stop.ts';
import { eventually, historyOf, jobRow, untilState } from '../../jobs/job-steps.ts';
import type { Fleet } from '../fleet.ts';
import { ChunkStage, jobType } from './chunk-stage.ts';

const alice: Operator = { name: 'alice', proof: 'asserted', door: 'cli' };
const target = { scope: 'job_type', name: jobType } as const;

export function describeStops(open: () => Promise<Fleet>): void {
  const stage = new ChunkStage(open);
  const system = () => stage.fleet.database.system;
  const stop = (): Promise<StopAnswer> => stopWork(system(), alice, { target, reason: 'incident' });

  describe('under a stop', () => {
    it('running jobs and those that began ahead go back uncounted, and run once after the resume', async () => {
      await stage.start(() => stage.gate, { concurrency: 2, leaseMs: 1_000 });
      for (const jobId of await stage.addChunks(4, 4)) {
        await untilState(system(), jobId, 'completed');
      }
      stage.started = [];
      stage.closeGate();
      const ids = await stage.addChunks(6, 6);
      const single = await stage.addChunks(1, 1);
      await eventually('two to run', () =>
        Promise.resolve(stage.started.length === 2 ? true : undefined),
      );
      const answer = await stop();
      expect(answer.runningIds.length + answer.returned).toBe(7);
      for (const jobId of [...ids, ...single]) {
        expect(await untilState(system(), jobId, 'pending')).toMatchObject({
          attempt: 0,
          losses: 0,
          suspect: false,
        });
      }
      for (const jobId of answer.runningIds) {
        expect(await jobRow(system(), jobId)).toMatchObject({
          state_detail: { reason: 'handed back: stopped by alice: incident' },
        });
        expect(await historyOf(system(), jobId)).toContain('running>pending');
      }
      expect(await stage.dispatch(10)).toEqual([]);
      await resumeWork(system(), target);
      stage.started = [];
      stage.openGate();
      expect((await stage.dispatch(10)).toSorted()).toEqual([...ids, ...single].toSorted());
      for (const jobId of [...ids, ...single]) {
        expect(await untilState(system(), jobId, 'completed')).toMatchObject({ attempt: 1 });
      }
      expect(stage.started.toSorted()).toEqual([...ids, ...single].toSorted());
    });

    it('an entry that was added before it begins nothing', async () => {
      const ids = await stage.addChunks(3, 3);
      expect(await stop()).toMatchObject({ returned: 3 });
      await stage.start(() => stage.gate);
      await eventually('the entry to be taken', async () => {
        const counts = await stage.fleet.transport
          .queue(jobType)
          .getJobCounts('waiting', 'prioritized', 'active');
        return Object.values(counts).every((count) => count === 0) ? true : undefined;
      });
      expect(stage.started).toEqual([]);
      expect(await stage.statesOf(ids)).toEqual(['pending', 'pending', 'pending']);
      await resumeWork(system(), target);
      await stage.remove(ids);
    });
  });

  describe('while it drains', () => {
    const process = { version: 'test', hostname: 'test', pid: 1 };
    const start = (processId: string) =>
      stage.start(() => stage.gate, {
        heartbeatEveryMs: 30,
        process: { ...process, processId },
      });
    const drain = (worker: string, undo = false) => drainWorkers(system(), alice, { worker, undo });
    const untilDrainIs = (worker: string, state: DrainProgress['state'], running: number) =>
      eventually(`the worker to be ${state}`, async () => {
        const [seen] = await readDrain(system(), [worker]);
        return seen?.state === state && seen.running === running ? true : undefined;
      });

    it('ends what it has, takes nothing new, and takes jobs again when it is undone', async () => {
      stage.closeGate();
      await start('drained-1');
      const [running = ''] = await stage.addChunks(1, 1);
      await untilState(system(), running, 'running');
      await untilDrainIs('drained-1', 'taking', 1);
      expect(await drain('drained')).toEqual({
        workerIds: ['drained-1'],
        changedIds: ['drained-1'],
      });
      expect(await drain('drained-1')).toMatchObject({ changedIds: [] });
      await untilDrainIs('drained-1', 'draining', 1);
      expect((await fleetSlots(system(), 60_000)).get(jobType)).toBeUndefined();
      stage.openGate();
      await untilState(system(), running, 'completed');
      await untilDrainIs('drained-1', 'empty', 0);
      const [late = ''] = await stage.addChunks(1, 1);
      await untilDrainIs('drained-1', 'empty', 0);
      // An entry that arrived with the last request for one goes back.
      expect(['queued', 'pending']).toContain(await stage.stateOf(late));
      await drain('drained-1', true);
      await untilDrainIs('drained-1', 'taking', 0);
      await eventually('the late job to be completed', async () => {
        // Its entry may go back at any moment.
        await stage.dispatch(1);
        return (await stage.stateOf(late)) === 'completed' ? true : undefined;
      });
      expect(stage.started).toEqual([running, late]);
    });

    it('stays so where its heartbeat was removed meanwhile, and stops in order', async () => {
      stage.openGate();
      await start('drained-2');
      await untilDrainIs('drained-2', 'taking', 0);
      await drain('drained-2');
      await untilDrainIs('drained-2', 'empty', 0);
      await system()`delete from heartbeats where process_id = 'drained-2'`;
      await untilDrainIs('drained-2', 'empty', 0);
      await stage.stop();
      expect(await readDrain(system(), ['drained-2'])).toMatchObject([{ state: 'gone' }]);
    });
  });
}
