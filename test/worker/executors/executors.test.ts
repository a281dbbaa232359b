/** The built executor threads and processes: which one is terminated, which job is blamed, and which jobs continue. */
import { AbortSource } from '../../../src/worker/executors/abort-source.ts';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { connect } from '../../../src/db/connect.ts';
import { PurserError } from '../../../src/errors.ts';
import type { BegunAttempt } from '../../../src/jobs/attempts.ts';
import type { Report } from '../../../src/worker/executors/thread/attempt-log.ts';
import { Executors } from '../../../src/worker/executors/executors.ts';
import { attemptOf, runOne, builtOptions, nowhere } from './built-executors.ts';

const handlers = `
import { execSync } from 'node:child_process';
const until = (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const h = (type, run, more = {}) => ({ type, timeoutMs: 300, maxAttempts: 3, run, ...more });
export const handlers = [
  h('quick', async () => 'quick'),
  h('nap', async () => { await sleep(600); return 'slept'; }, { timeoutMs: 10_000 }),
  h('waits', ({ signal }) => until(signal), { timeoutMs: 10_000 }),
  h('loop', async () => { await sleep(50); for (;;); }),
  h('deaf', () => new Promise(() => setInterval(() => {}, 1_000))),
  h('busy', async () => { for (;;); }, { isolation: 'exclusive' }),
  h('exit', async () => process.exit(3)),
  h('forgets', async ({ signal }) => { void Promise.reject(new Error('nobody waits')); await until(signal); }),
  h('timer', async ({ signal }) => { setTimeout(() => { throw new Error('late'); }); await until(signal); }),
  h('dies', async () => execSync('kill -9 $PPID'), { timeoutMs: 10_000 }),
  h('hog', async () => { const a = []; for (;;) a.push({ a }); }, { timeoutMs: 60_000 }),
  h('where', async () => ({ pid: process.pid })),
  h('says', async ({ log, progress }) => { log.info({ n: 1 }, 'one'); log.debug('not'); progress(0.5, 'half'); }),
];
`;
let folder: string;
const sql = connect(nowhere, { max: 1, applicationName: 'none' });
let executors: Executors;
let reports: Report[];
const open = (modulePath = join(folder, 'handlers.mjs'), maxWaitingSuspects = 3) =>
  Executors.open({
    ...builtOptions(modulePath, sql),
    maxWaitingSuspects,
    timing: { drainMs: 2_000 },
  });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'purser-executors-'));
  await writeFile(join(folder, 'handlers.mjs'), handlers);
  await writeFile(join(folder, 'broken.mjs'), 'export const handlers = [{ type: 7 }];');
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await sql.end();
});
beforeEach(async () => {
  executors = await open();
  reports = [];
  executors.listen({
    report: (_token, report) => reports.push(report),
    threadStuck: (text) => expect.unreachable(text),
  });
});
afterEach(() => executors.close());

let lastJobId = 0;
function run(jobType: string, more: Partial<BegunAttempt> = {}, controller = new AbortSource()) {
  lastJobId += 1;
  return runOne(executors, { ...attemptOf(jobType, String(lastJobId)), ...more }, controller);
}
const alone = { isolated: true };

describe('a shared thread', () => {
  it('continues when a handler exits, leaves a rejection unhandled or throws from a timer: only that attempt fails', async () => {
    const nap = run('nap');
    const ends = await Promise.all(['exit', 'forgets', 'timer'].map((type) => run(type)));
    expect(ends.map(({ toState, error }) => [toState, error?.code])).toEqual([
      ['failed', 'handler_exit'],
      ['failed', 'unhandled_rejection'],
      ['failed', 'uncaught_exception'],
    ]);
    expect(await nap).toMatchObject({ toState: 'completed', result: 'slept' });
  });

  it('that is blocked is terminated: the job that blocked it runs alone next, the other jobs return uncounted', async () => {
    const neighbour = run('waits');
    const loop = await run('loop');
    expect(loop).toMatchObject({ toState: 'pending', countsAttempt: false, suspect: true });
    expect(await neighbour).toMatchObject({
      toState: 'pending',
      countsAttempt: false,
      lost: 'shared',
    });
    expect(await run('quick')).toMatchObject({ toState: 'completed' });
  });

  it('whose event loop runs shows which handler does not stop: only that one fails, the others finish', async () => {
    const neighbour = run('nap');
    expect(await run('deaf')).toMatchObject({ toState: 'failed', error: { code: 'job_timeout' } });
    expect(await neighbour).toMatchObject({ toState: 'completed' });
  });

  it('whose heap is full is replaced, and no other job fails', async () => {
    const neighbour = run('waits');
    expect(await run('hog')).toMatchObject({ toState: 'pending', countsAttempt: false });
    expect(await neighbour).toMatchObject({ toState: 'pending', countsAttempt: false });
    expect(await run('hog', alone)).toMatchObject({
      toState: 'failed',
      suspect: true,
      error: { code: 'out_of_memory' },
    });
  }, 60_000);

  it('reports log lines and progress of handlers', async () => {
    await run('says');
    const [report] = reports;
    expect(report).toMatchObject({
      progress: { done: 0.5, note: 'half' },
      lines: [{ level: 'info', text: 'one {"n":1}' }],
    });
  });
});

describe('a thread of its own', () => {
  it('is terminated at the deadline, and its job fails', async () => {
    expect(await run('busy')).toMatchObject({
      toState: 'failed',
      suspect: true,
      error: { code: 'job_timeout' },
    });
  });
});

describe('a suspect', () => {
  it('runs in a process of its own', async () => {
    expect(await run('where')).toMatchObject({ result: { pid: process.pid } });
    const end = await run('where', alone);
    expect(end).toMatchObject({ toState: 'completed' });
    expect(end.result).not.toEqual({ pid: process.pid });
  });

  it('that blocks there fails its attempt', async () => {
    expect(await run('loop', alone)).toMatchObject({
      toState: 'failed',
      countsAttempt: true,
      suspect: true,
      error: { code: 'job_timeout' },
    });
  });

  it('whose process crashes runs again, and is a dead letter the third time', async () => {
    expect(await run('dies', { ...alone, isolatedCrashes: 1 })).toMatchObject({
      toState: 'pending',
      countsAttempt: false,
      suspect: true,
      lost: 'isolated',
    });
    expect(await run('dies', { ...alone, isolatedCrashes: 2 })).toMatchObject({
      toState: 'dead_letter',
      error: { code: 'worker_lost', message: expect.stringContaining('SIGKILL') },
    });
  });

  it.each([0, 3])('waits for another one, %i at most; the others are returned', async (wait) => {
    await executors.close();
    executors = await open(undefined, wait);
    const ends = await Promise.all([1, 2, 3, 4, 5].map(() => run('where', alone)));
    expect(ends.filter(({ toState }) => toState === 'completed')).toHaveLength(1 + wait);
    const back = ends.filter(({ toState }) => toState === 'pending');
    expect(back.map(({ countsAttempt }) => countsAttempt)).toEqual(Array(4 - wait).fill(false));
  });
});

describe('a cancelled job', () => {
  const cancelled = new PurserError('job_cancelled', 'cancelled', {
    details: { class: 'cancel', by: 'ops', reason: 'wrong file' },
  });
  it.each(['waits', 'deaf', 'busy', 'loop'])('ends a handler that %s', async (type) => {
    const controller = new AbortSource();
    const end = run(type, {}, controller);
    setTimeout(() => controller.abort(cancelled), 100);
    expect(await end).toMatchObject({
      toState: 'cancelled',
      detail: { by: 'ops', reason: 'wrong file' },
    });
  });
});

describe('a stopped job', () => {
  const stopped = new PurserError('job_stopped', 'stopped by ops: incident', {
    details: { class: 'hand_back' },
  });
  it.each(['waits', 'loop'])('goes back from a handler that %s', async (type) => {
    const controller = new AbortSource();
    const end = run(type, {}, controller);
    setTimeout(() => controller.abort(stopped), 100);
    const ended = await end;
    expect(ended).toMatchObject({
      toState: 'pending',
      countsAttempt: false,
      detail: { reason: 'handed back: stopped by ops: incident' },
    });
    expect(ended).not.toHaveProperty('suspect');
  });
});

describe('the pool', () => {
  it('refuses a module that does not load, naming the fault', async () => {
    await expect(open(join(folder, 'broken.mjs'))).rejects.toMatchObject({
      code: 'invalid_handlers',
      exitCode: 78,
      message: expect.stringContaining('handlers[0]'),
    });
  });

  it('hands back what runs when it is closed', async () => {
    const ends = [run('waits'), run('waits', alone)];
    await executors.close();
    for (const end of await Promise.all(ends)) {
      expect(end).toMatchObject({ toState: 'pending', countsAttempt: false });
    }
  });
});
