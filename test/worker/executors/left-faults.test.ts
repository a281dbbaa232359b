/** What would end a process, in handlers: it ends one attempt at most, and is never lost without a word. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../../jobs/job-steps.ts';
import { openPool } from './built-executors.ts';
import type { BuiltPool } from './built-executors.ts';

const handlers = `
import { exit, kill } from 'node:process';
const { exit: keptExit, kill: keptKill } = process;
const until = (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
const later = (act) => setTimeout(act, 20);
const exits = {
  kill: () => process.kill(process.pid, 'SIGTERM'),
  'kill without a signal': () => process.kill(process.pid),
  'kill by text': () => process.kill(String(process.pid), 'SIGTERM'),
  'kill of the group': () => process.kill(0, 'SIGTERM'),
  'a kept kill': () => keptKill(process.pid, 'SIGTERM'),
  'an imported kill': () => kill(process.pid, 'SIGTERM'),
  exit: () => process.exit(3),
  'a kept exit': () => keptExit(3),
  'an imported exit': () => exit(3),
};
const left = {
  rejects: () => later(() => { void Promise.reject(new Error('REJECTED')); }),
  exits: () => later(() => process.exit(4)),
  kills: () => later(() => process.kill(process.pid, 'SIGTERM')),
};
let isAsked = false;
setInterval(() => { if (isAsked) void Promise.reject(new Error('OF THE MODULE')); isAsked = false; }, 5);
const unheard = {
  throws: () => { throw new Error('CANARY'); },
  rejects: () => { void Promise.reject(new Error('CANARY')); },
  'throws a text': () => { throw 'CANARY'; },
  'throws an odd name': () => { throw Object.assign(new Error('CANARY'), { name: 'CANARY', code: 'CANARY' }); },
};
const h = (type, run) => ({ type, timeoutMs: 20_000, maxAttempts: 3, run });
export const handlers = [
  h('exits', async ({ payload }) => { exits[payload.how](); }),
  h('exits_later', async ({ payload, signal }) => { later(() => exits[payload.how]()); await until(signal); }),
  h('leaves', async ({ payload }) => { left[payload.how](); return 'returned'; }),
  h('wakes_module', async () => { isAsked = true; return 'asked'; }),
  h('unheard', async ({ payload, signal }) => {
    process.removeAllListeners();
    later(unheard[payload.how]);
    await until(signal);
  }),
  h('asks', async () => process.kill(process.pid, 0)),
  h('nap', async ({ signal }) => until(signal)),
  h('quick', async () => 'quick'),
];
`;

let pool: BuiltPool;
beforeAll(async () => {
  pool = await openPool(handlers);
});
afterAll(() => pool.close());

const faults = () => pool.lines().filter(({ event }) => event === 'handler_left_fault');
const untilFault = (code: string, text: RegExp) =>
  eventually(`a line about ${code}`, () =>
    Promise.resolve(
      faults().find((line) => line['code'] === code && text.test(String(line['reason']))),
    ),
  );

it('a rejection of the module itself is logged', async () => {
  expect(await pool.run('wakes_module')).toMatchObject({ result: 'asked' });
  expect(await untilFault('unhandled_rejection', /OF THE MODULE/)).not.toHaveProperty('jobId');
});

describe.each([
  'kill',
  'kill without a signal',
  'kill by text',
  'kill of the group',
  'a kept kill',
  'an imported kill',
  'exit',
  'a kept exit',
  'an imported exit',
])('%s', (how) => {
  it.each(['exits', 'exits_later'])('fails its own attempt (%s), and no process', async (type) => {
    const end = await pool.run(type, { payload: JSON.stringify({ how }) });
    expect(end).toMatchObject({
      toState: 'failed',
      countsAttempt: true,
      error: { code: 'handler_exit', message: expect.stringContaining('returning or throwing') },
    });
    expect(await pool.run('quick')).toMatchObject({ toState: 'completed' });
  });
});

it('a process may ask whether it lives', async () => {
  expect(await pool.run('asks')).toMatchObject({ toState: 'completed', result: true });
});

it.each([
  ['rejects', 'unhandled_rejection', /REJECTED/],
  ['exits', 'handler_exit', /process\.exit\(4\)/],
  ['kills', 'handler_exit', /process\.kill\(\d+\)/],
])('what a job left behind that %s is logged with the job', async (how, code, text) => {
  const jobId = `90${how.length}`;
  const payload = JSON.stringify({ how });
  const end = await pool.run('leaves', { jobId, payload });
  expect(end).toMatchObject({ toState: 'completed', result: 'returned' });
  expect(await untilFault(code, text)).toMatchObject({ jobId, jobType: 'leaves' });
});

it.each(['throws', 'rejects', 'throws a text', 'throws an odd name'])(
  'a thread without listeners of faults whose job %s ends, and says nothing of what was thrown: it may be secret',
  async (how) => {
    const payload = JSON.stringify({ how });
    const ends = [await pool.run('unheard', { payload, isolated: true })];
    const [neighbour, own] = [pool.run('nap'), pool.run('unheard', { payload })];
    ends.push(await neighbour, await own);
    expect(ends).toMatchObject([{ lost: 'isolated' }, { toState: 'pending' }, { suspect: true }]);
    expect(JSON.stringify([ends, pool.lines()])).not.toContain('CANARY');
    expect(JSON.stringify(pool.lines())).toContain('its thread ended by an exception');
    expect(await pool.run('quick')).toMatchObject({ toState: 'completed' });
  },
);
