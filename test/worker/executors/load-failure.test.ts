/** Executors that can no longer start: no job is blamed, every attempt ends, and starts are not retried in a loop. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, expect, it } from 'vitest';
import { connect } from '../../../src/db/connect.ts';
import type { BegunAttempt } from '../../../src/jobs/attempts.ts';
import { Executors } from '../../../src/worker/executors/executors.ts';
import {
  attemptOf,
  builtOptions,
  nowhere,
  runOne,
  spawnProcess,
  spawnThread,
} from './built-executors.ts';

/** Loads until the file `moved` exists beside it; then it does what that file says. */
const fickle = `
import { existsSync, readFileSync } from 'node:fs';
const moved = new URL('moved', import.meta.url);
if (existsSync(moved)) {
  if (readFileSync(moved, 'utf8') === 'loop') for (;;);
  if (readFileSync(moved, 'utf8') === 'exit') process.exit(3);
  throw new Error('moved away');
}
const h = (type, run) => ({ type, timeoutMs: 300, maxAttempts: 3, run });
export const handlers = [
  h('quick', async () => 'quick'),
  h('loop', async () => { await new Promise((resolve) => setTimeout(resolve, 50)); for (;;); }),
];
`;

const sql = connect(nowhere, { max: 1, applicationName: 'none' });
let folder: string;
let executors: Executors | undefined;
let threads: number;
let canStart: boolean;
let diesSlowly: boolean;
let readyWithinMs: number;
let stuck: string[];

const move = (how: 'exit' | 'throw' | 'loop') => writeFile(join(folder, 'moved'), how);

async function open(): Promise<Executors> {
  const options = builtOptions(join(folder, 'fickle.mjs'), sql);
  const tenantAccess = {
    ...options.setup.tenantAccess,
    // Read on every start of a thread.
    get url() {
      if (!canStart) throw new Error('no thread left');
      return nowhere;
    },
  };
  executors = await Executors.open({
    ...options,
    setup: { ...options.setup, tenantAccess },
    spawn: {
      thread: (...given) => {
        threads += 1;
        return spawnThread(...given);
      },
      process: (...given) => {
        const handle = spawnProcess(...given);
        if (!diesSlowly) return handle;
        const terminate = async () => {
          await handle.terminate();
          await new Promise(() => {});
        };
        return { ...handle, terminate };
      },
    },
    timing: { readyWithinMs, ...(diesSlowly ? { terminateWithinMs: 200 } : {}) },
  });
  executors.listen({ report: () => {}, threadStuck: (text) => stuck.push(text) });
  return executors;
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'purser-unfit-'));
  await writeFile(join(folder, 'fickle.mjs'), fickle);
  threads = 0;
  canStart = true;
  diesSlowly = false;
  readyWithinMs = 60_000;
  stuck = [];
});
afterEach(async () => {
  await executors?.close();
  executors = undefined;
  await rm(folder, { recursive: true, force: true });
});
afterAll(() => sql.end());

let lastJobId = 0;
const run = (pool: Executors, jobType: string, more: Partial<BegunAttempt> = {}) => {
  lastJobId += 1;
  const attempt = { ...attemptOf(jobType, String(lastJobId)), ...more };
  return runOne(pool, attempt);
};
const innocent = { toState: 'pending', countsAttempt: false };

it('waiting suspects are returned when the handlers no longer load', async () => {
  const pool = await open();
  await move('throw');
  const ends = await Promise.all([1, 2, 3, 4].map(() => run(pool, 'quick', { isolated: true })));
  for (const end of ends) expect(end).toMatchObject(innocent);
});

it('a process that could not be started is not a crash of its job', async () => {
  const pool = await open();
  const { execPath } = process;
  process.execPath = join(folder, 'no-node-here');
  const end = await run(pool, 'quick', { isolated: true, isolatedCrashes: 2 }).finally(() => {
    process.execPath = execPath;
  });
  expect(end).toMatchObject(innocent);
  expect(end).not.toHaveProperty('lost');
});

it('when handlers no longer load, attempts still run in the thread that has loaded them', async () => {
  const pool = await open();
  await move('throw');
  expect(await run(pool, 'quick', { isolated: true })).toMatchObject(innocent);
  expect(await run(pool, 'quick')).toMatchObject({ toState: 'completed' });
  expect(await run(pool, 'quick', { isolated: true })).toMatchObject(innocent);
});

it('a thread that ends while it loads its handlers is not restarted at once', async () => {
  const pool = await open();
  await move('exit');
  expect(await run(pool, 'loop')).toMatchObject({ toState: 'failed', suspect: true });
  expect(await run(pool, 'quick')).toMatchObject(innocent);
  expect(await run(pool, 'quick')).toMatchObject(innocent);
  expect(threads).toBe(2);
});

it('a module that ends its thread while it loads is named as the cause', async () => {
  await move('exit');
  await expect(open()).rejects.toMatchObject({ code: 'invalid_handlers', exitCode: 78 });
});

it('a module whose top level never ends is named as the cause', async () => {
  readyWithinMs = 500;
  await move('loop');
  await expect(open()).rejects.toMatchObject({
    code: 'invalid_handlers',
    exitCode: 78,
    message: `PURSER_HANDLERS=${join(folder, 'fickle.mjs')}: the module did not load: code at its top level has not ended within 500 ms`,
  });
});

it('a process that ends slowly does not count as a stuck thread', async () => {
  diesSlowly = true;
  const pool = await open();
  expect(await run(pool, 'loop', { isolated: true })).toMatchObject({ toState: 'failed' });
  expect(stuck).toEqual([]);
});

it('attempts of a thread that cannot be started still end', async () => {
  const pool = await open();
  canStart = false;
  expect(await run(pool, 'loop')).toMatchObject({ toState: 'failed', suspect: true });
  expect(await run(pool, 'quick')).toMatchObject(innocent);
});
