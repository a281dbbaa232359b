/** An error whose fields throw when they are read, outside of the handler's own promise, fails that attempt alone. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openPool } from './built-executors.ts';
import type { BuiltPool } from './built-executors.ts';

const handlers = `
const trap = () => { throw new Error('trap'); };
const unreadable = () => new Proxy(new Error('x'), { get: trap, getPrototypeOf: trap, ownKeys: trap, has: trap });
const until = (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
const h = (type, run) => ({ type, timeoutMs: 20_000, maxAttempts: 3, run });
export const handlers = [
  h('quick', async () => 'quick'),
  h('nap', async () => { await new Promise((resolve) => setTimeout(resolve, 400)); return 'slept'; }),
  h('rejects', async ({ signal }) => { void Promise.reject(unreadable()); await until(signal); }),
  h('timer', async ({ signal }) => { setTimeout(() => { throw unreadable(); }); await until(signal); }),
];
`;

let pool: BuiltPool;
beforeAll(async () => {
  pool = await openPool(handlers);
});
afterAll(() => pool.close());

it.each([
  ['rejects', 'unhandled_rejection'],
  ['timer', 'uncaught_exception'],
])('%s: the attempt fails with %s, and its neighbour completes', async (type, code) => {
  const nap = pool.run('nap');
  expect(await pool.run(type)).toMatchObject({ toState: 'failed', error: { code } });
  expect(await nap).toMatchObject({ toState: 'completed', result: 'slept' });
  expect(await pool.run('quick')).toMatchObject({ toState: 'completed' });
});
