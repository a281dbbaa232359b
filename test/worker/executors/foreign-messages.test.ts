/** Messages that a handler or a library sends over the thread's own port: they never reach the worker. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPool } from './built-executors.ts';
import type { BuiltPool } from './built-executors.ts';

const handlers = `
import { parentPort } from 'node:worker_threads';
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const forged = {
  null: () => null,
  undefined: () => undefined,
  number: () => 7,
  text: () => 'ended',
  list: () => [null],
  'an unknown kind': () => ({ kind: 'unknown' }),
  'a kind that is no text': () => ({ kind: {} }),
  'ended without an end': ({ token }) => ({ kind: 'ended', token }),
  'ended with a forged end': ({ token }) => ({ kind: 'ended', token, end: { toState: 'completed', result: 'forged', countsAttempt: true, detail: {} } }),
  'aborting without a reason': ({ token }) => ({ kind: 'aborting', token }),
  'report without lines': ({ token }) => ({ kind: 'report', token, lines: null }),
  'llm_call without a call': ({ token }) => ({ kind: 'llm_call', token, callId: 1 }),
  retire: () => ({ kind: 'retire', reason: 'forged' }),
  'abort_ignored': ({ token }) => ({ kind: 'abort_ignored', token }),
  'load_failed': () => ({ kind: 'load_failed', error: null }),
  ready: () => ({ kind: 'ready', jobTypes: [] }),
  died: () => ({ kind: 'died', cause: { how: 'process', text: 'forged' } }),
};
const h = (type, run) => ({ type, timeoutMs: 5_000, maxAttempts: 3, run });
export const handlers = [
  h('nap', async () => { await sleep(300); return 'slept'; }),
  h('where', async () => process.pid),
  h('posts', async (ctx) => { parentPort.postMessage(forged[ctx.payload.what](ctx)); await sleep(100); return 'done'; }),
  h('closes', async () => { parentPort.close(); await sleep(100); return 'done'; }),
  h('listens', async () => { parentPort.on('message', () => {}); parentPort.unref(); return 'done'; }),
];
`;
const kinds = [
  ...(/const forged = \{(.*?)\n\};/s.exec(handlers)?.[1] ?? '').matchAll(/^ {2}'?([\w ]+)'?:/gm),
];
const names = kinds.map(([, name]) => name ?? '');

let pool: BuiltPool;
beforeAll(async () => {
  pool = await openPool(handlers);
});
afterAll(() => pool.close());

describe.each([
  ['a shared thread', false],
  ['a process of its own', true],
])('from %s', (_, isolated) => {
  it.each(names)('%s changes neither the end of its attempt nor that of another', async (what) => {
    const other = pool.run('nap');
    const end = await pool.run('posts', { payload: JSON.stringify({ what }), isolated });
    expect(end).toMatchObject({ toState: 'completed', result: 'done' });
    expect(await other).toMatchObject({ toState: 'completed', result: 'slept' });
  });

  it.each(['closes', 'listens'])('a handler that %s on the port runs to its end', async (type) => {
    expect(await pool.run(type, { isolated })).toMatchObject({ toState: 'completed' });
    expect(await pool.run('nap', { isolated })).toMatchObject({ toState: 'completed' });
  });
});

it('all of them are logged once per executor, and no executor is replaced for them', () => {
  expect(names).toHaveLength(17);
  expect(pool.events().filter((event) => event === 'foreign_message_ignored')).not.toEqual([]);
  expect(pool.events()).not.toContain('executor_killed');
  expect(pool.events()).not.toContain('executor_retired');
});
