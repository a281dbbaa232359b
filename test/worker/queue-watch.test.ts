/** A worker whose queue delivers no entries is reported as stalled; one that is full or has no work is not. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from 'bullmq';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { defineHandler } from '../../src/handlers/define.ts';
import type { Entry } from '../../src/queues/backend.ts';
import { StallWatchdog } from '../../src/process/stall-watchdog.ts';
import type { WorkerService } from '../../src/worker/worker.ts';
import { addJob, untilState } from '../jobs/job-steps.ts';
import { collectingLog } from '../support/collecting-log.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { addTenant } from '../support/tenants.ts';
import { openFleet } from './fleet.ts';
import type { Fleet } from './fleet.ts';

const silentForMs = 1_000;
let fleet: Fleet;
let tenantId: string;
let worker: WorkerService | undefined;
let watchdog: StallWatchdog;
const silent: string[] = [];

beforeAll(async () => {
  fleet = await openFleet(undefined);
  tenantId = await addTenant(fleet.test.sql);
});
afterEach(async () => {
  watchdog.stop();
  await worker?.stop();
  silent.length = 0;
});
afterAll(() => fleet.close());

/** A worker of one place, and the BullMQ worker beneath it. */
async function start(
  type: string,
  run: () => Promise<unknown>,
  log = silentLog,
): Promise<Worker<Entry>> {
  const taken: Worker<Entry>[] = [];
  const handler = defineHandler({
    type,
    timeoutMs: 60_000,
    maxAttempts: 1,
    payload: z.object({}),
    run,
  });
  watchdog = new StallWatchdog({
    log: silentLog,
    onStall: (what) => silent.push(what),
    tickMs: 100,
  });
  worker = await fleet.startWorker([handler], {
    concurrency: 1,
    log,
    watchdog,
    shutdownGraceMs: 100,
    queueWatch: { everyMs: 50, queuedForMs: 200, silentForMs },
    backend: {
      ...fleet.backend,
      worker: (...args) => {
        const made = fleet.backend.worker(...args);
        taken.push(made);
        return made;
      },
    },
  });
  const [found] = taken;
  if (found === undefined) throw new Error('no BullMQ worker was opened');
  return found;
}

it('a queue that gives out no job although it has some is a stall', async () => {
  const queueWorker = await start('test_stopped', async () => 'ran');
  // As after a reconnect that went wrong: alive, and taking nothing.
  await queueWorker.pause(true);
  await addJob(fleet.test.sql, tenantId, { jobType: 'test_stopped' });
  await addJob(fleet.test.sql, tenantId, { jobType: 'test_stopped' });
  await expect
    .poll(() => silent, { timeout: 20_000 })
    .toEqual(['taking test_stopped from its queue']);
});

it('a queue that is stopped in its store is logged with the fix, and is no stall', async () => {
  await fleet.transport.queue('test_held').pause();
  const { lines, log } = collectingLog();
  await start('test_held', async () => 'ran', log);
  const jobId = await addJob(fleet.test.sql, tenantId, { jobType: 'test_held' });
  await expect
    .poll(() => lines.filter(({ event }) => event === 'queue_stopped'), { timeout: 20_000 })
    .toMatchObject([{ queue: 'test_held', fix: 'purser resume --type=test_held' }]);
  await sleep(2 * silentForMs);
  expect(silent).toEqual([]);
  await fleet.transport.queue('test_held').resume();
  await untilState(fleet.test.sql, jobId, 'completed');
}, 30_000);

it('a worker that is full, or has nothing to do, is none', async () => {
  await start('test_full', () => sleep(4 * silentForMs));
  const [first, second] = [
    await addJob(fleet.test.sql, tenantId, { jobType: 'test_full' }),
    await addJob(fleet.test.sql, tenantId, { jobType: 'test_full' }),
  ];
  await untilState(fleet.test.sql, first, 'completed');
  await untilState(fleet.test.sql, second, 'completed');
  await sleep(2 * silentForMs);
  expect(silent).toEqual([]);
}, 30_000);
