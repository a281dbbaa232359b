/**
 * Every start-up step of every role against every fault of its stores, by the built CLI and real stores: a role neither
 * ends nor spins, goes on when the fault is over, ends with 0 on SIGTERM during it, and with 78 for a wrong password.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { messageOf } from '../../../../src/errors.ts';
import { enqueue } from '../../../../src/jobs/enqueue.ts';
import { writeHeartbeat } from '../../../../src/db/heartbeats.ts';
import { addJobType } from '../../../jobs/job-steps.ts';
import { describeOnRedis } from '../../../support/redis.ts';
import { variableOf, walkCases } from './cases.ts';
import type { WalkCase } from './cases.ts';
import { cpuSeconds, openLane } from './lane.ts';
import type { Lane, Started } from './lane.ts';

const laneCount = 3;
const type = 'startup_walk';
/** How long a fault lasts, once its step has begun. */
const faultMs = 1_500;
/** A process that spins uses all of it; one that waits uses little once its modules are loaded. */
const mostOfTheTime = 0.85;
const longWait = { timeoutMs: 60_000 };

let lanes: readonly Lane[];

const nameOf = ({ role, step, target, fault }: WalkCase): string =>
  `${role} ${step} ${target} ${fault}`;

/** Failures of many cases are collected, so that one does not hide the others. */
function must(isTrue: boolean, what: string): void {
  if (!isTrue) throw new Error(`not true: ${what}`);
}

async function stops({ role }: Started): Promise<void> {
  role.signal('SIGTERM');
  const { code, signal, stderr } = await role.waitForExit(longWait);
  must(code === 0, `SIGTERM ends it with 0, not ${code ?? signal}:\n${stderr.slice(-1_500)}`);
}

async function until(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + longWait.timeoutMs;
  for (;;) {
    if (await isTrue().catch(() => false)) return;
    if (Date.now() > deadline) throw new Error(`not within a minute: ${what}`);
    await sleep(100);
  }
}

/** The role does its work: a job of the worker completes, the scheduler dispatches one, the web role is ready. */
async function works(lane: Lane, { role, target }: WalkCase, { port }: Started): Promise<void> {
  const { sql } = lane.test;
  if (role === 'web') {
    await until('/readyz says 200', async () => {
      const answer = await fetch(`http://127.0.0.1:${port}/readyz`);
      const body: unknown = await answer.json();
      return JSON.stringify(body) === '{"ready":true}';
    });
    return;
  }
  const { jobId } = await enqueue(sql, { tenantId: lane.tenantId, jobType: type, payload: {} });
  const dispatch = lane.dispatch[target === 'postgres_queues' ? 'postgres' : 'redis'];
  const wanted = role === 'worker' ? 'completed' : 'queued';
  await until(`job ${jobId} is ${wanted}`, async () => {
    if (role === 'worker') await dispatch();
    else await beat(lane);
    const [job] = await sql<{ state: string }[]>`
      select state from background_jobs where id = ${jobId}`;
    return job?.state === wanted;
  });
  await sql`delete from jobs where id = ${jobId}`;
}

/** A worker that takes nothing, so that a scheduler dispatches. */
const beat = (lane: Lane): Promise<unknown> =>
  writeHeartbeat(lane.test.sql, {
    processId: 'walk',
    role: 'worker',
    version: '0',
    hostname: 'walk',
    pid: 1,
    jobTypes: [type],
    typeSlots: [50],
    slots: 50,
    running: 0,
    progressedAt: new Date(),
    metrics: [],
  });

const running = /^purser \w+ is running/;

async function startHeld(lane: Lane, { role, step, target }: WalkCase): Promise<Started> {
  const started = await lane.start(role, target, { hold: step });
  await started.role.waitForLine(new RegExp(`"step":"${step}".*"event":"startup_step"`), longWait);
  return started;
}

async function walkFault(lane: Lane, each: WalkCase): Promise<void> {
  const started = await startHeld(lane, each);
  const { role } = started;
  try {
    await lane.begin(each.target, each.fault);
    await started.release();
    if (each.ends) {
      const { code, stderr } = await role.waitForExit(longWait);
      const named = stderr.includes(`purser: ${variableOf(each)}: `);
      must(code === 78 && named, `it ends with 78 and names the variable, not ${code}:\n${stderr}`);
      return;
    }
    // Code that runs for the first time is not counted.
    await sleep(300);
    const [usedBefore, beganMs] = [cpuSeconds(role.pid), performance.now()];
    await sleep(faultMs);
    const used = cpuSeconds(role.pid) - usedBefore;
    const share = (used * 1_000) / (performance.now() - beganMs);
    must(share < mostOfTheTime, `it waits, instead of using ${share} of a core`);
    if (each.holdsUp) {
      must(!role.stderr.some((line) => running.test(line)), 'the step waits for the store');
      if (each.role === 'web') await answersWhileStarting(each, started);
    }
    // What is slow works while it is slow.
    if (each.fault !== 'slow') await lane.end(each.target, each.fault);
    await role.waitForLine(running, longWait);
    await works(lane, each, started);
    await stops(started);
  } finally {
    await role.kill();
    await lane.end(each.target, each.fault);
  }
}

async function answersWhileStarting({ step }: WalkCase, { port }: Started): Promise<void> {
  const page = async (path: string): Promise<string> => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`);
    return `${answer.status} ${await answer.text()}`;
  };
  const alive = await page('/healthz');
  must(alive === '200 {"alive":true}', `/healthz answers, not with ${alive}`);
  const ready = await page('/readyz');
  const notReady = JSON.stringify({ ready: false, notReady: [{ part: 'startup', reason: step }] });
  must(ready === `503 ${notReady}`, `/readyz names the step, not ${ready}`);
}

async function walkStop(lane: Lane, each: WalkCase): Promise<void> {
  const started = await startHeld(lane, each);
  try {
    await lane.begin(each.target, each.fault);
    await started.release();
    await sleep(400);
    await stops(started);
  } finally {
    await started.role.kill();
    await lane.end(each.target, each.fault);
  }
}

/** In a pause between attempts, and in an attempt that hangs. */
const isStopped = ({ fault }: WalkCase): boolean => fault === 'refused' || fault === 'half_open';

describeOnRedis('a start in a fault of a store', () => {
  beforeAll(async () => {
    lanes = await Promise.all(Array.from({ length: laneCount }, openLane));
    for (const lane of lanes) await addJobType(lane.test.sql, type);
  }, 120_000);
  afterAll(() => Promise.all(lanes.map((lane) => lane.close())));

  it('every step of every role, every store, every fault', async () => {
    expect(process.platform).toBe('linux');
    const only = new RegExp(process.env['PURSER_WALK'] ?? '');
    const cases = walkCases.filter((each) => only.test(nameOf(each)));
    const waiting = cases.flatMap((each) => [
      { name: nameOf(each), run: (lane: Lane) => walkFault(lane, each) },
      ...(isStopped(each)
        ? [{ name: `${nameOf(each)}, SIGTERM`, run: (lane: Lane) => walkStop(lane, each) }]
        : []),
    ]);
    const starts = waiting.length;
    const failures: string[] = [];
    await Promise.all(
      lanes.map(async (lane) => {
        for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
          await next.run(lane).catch((error: unknown) => {
            failures.push(`${next?.name}: ${messageOf(error)}`);
            process.stdout.write(`${failures.at(-1)}\n`);
          });
        }
      }),
    );
    process.stdout.write(
      `start-up walk: ${cases.length} cases (role x step x store x fault), ${starts} starts, ` +
        `${failures.length} failures\n`,
    );
    expect(failures).toEqual([]);
  }, 1_800_000);
});
