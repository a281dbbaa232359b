/** SIGTERM while long jobs run: the worker exits in time with code 0, and every job runs elsewhere, uncounted. */
import { describe, expect, it } from 'vitest';
import { describeOnRedis } from '../support/redis.ts';
import { allCompleted } from './auditor.ts';
import type { Audit } from './auditor.ts';
import { say } from './figures.ts';
import { onStage } from './fleet.ts';
import type { BackendKind, Stage } from './fleet.ts';

/** The platform kills after 30 s; design section 3 promises 25. */
const graceMs = 25_000;

async function leave(stage: Stage): Promise<Audit> {
  await stage.keepScheduler();
  const leaving = await stage.keepWorker();
  const gate = stage.gate();
  const ids = await stage.enqueue(
    'fault_work',
    Array.from({ length: 10 }, () => ({ gate, completes: true })),
  );
  await stage.untilStates(ids, 10, 'running');
  const other = await stage.keepWorker();
  const toldAt = performance.now();
  const { code, signal } = await leaving.stop();
  const tookMs = performance.now() - toldAt;
  expect({ code, signal }).toEqual({ code: 0, signal: null });
  // The only time bound here: after it the platform sends SIGKILL.
  expect(tookMs).toBeLessThan(graceMs);
  const owners = async () => {
    const rows = await stage.sql<{ attempt: number; losses: number; pid: number }[]>`
      select j.attempt, j.losses, h.pid from background_jobs j
      join heartbeats h on h.process_id = j.lease_owner where j.state = 'running'`;
    return rows.map(({ attempt, losses, pid }) => ({ attempt, losses, pid }));
  };
  await stage.untilStates(ids, 10, 'running');
  expect(await owners()).toEqual(
    ids.map(() => ({ attempt: 1, losses: 0, pid: other.current().pid })),
  );
  await stage.open(gate);
  say(
    `SIGTERM with 10 long jobs: exit 0 after ${(tookMs / 1000).toFixed(1)} s of ${graceMs / 1000}`,
  );
  return stage.audit();
}

const scenario = (backend: BackendKind) => onStage({ backend }, leave);

describeOnRedis('a worker that is told to leave, queues in Redis', () => {
  it('leaves 10 long jobs to another worker, at the same attempt number', async () => {
    expect(await scenario('redis')).toEqual(allCompleted(10));
  });
});

describe('a worker that is told to leave, queues in Postgres', () => {
  it('leaves 10 long jobs to another worker, at the same attempt number', async () => {
    expect(await scenario('postgres')).toEqual(allCompleted(10));
  });
});
