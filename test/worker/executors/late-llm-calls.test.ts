/** LLM calls that are made, or still in flight, when their attempt has ended: they fail, and take no room from others. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openPool } from './built-executors.ts';
import type { BuiltPool } from './built-executors.ts';

// Five of these prompts fill the bound of a thread's calls in flight.
const handlers = `
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const call = (ctx, prompt) => ctx.llm.generate({ system: 's', prompt, maxOutputTokens: 5 })
  .then(() => 'answered', (error) => error.code + ': ' + error.message);
const big = 'x'.repeat(7 * 1024 * 1024);
let late;
const h = (type, run) => ({ type, timeoutMs: 5_000, maxAttempts: 3, run });
export const handlers = [
  h('leaves', async (ctx) => { late = sleep(300).then(() => Promise.all(Array.from({ length: 5 }, () => call(ctx, big)))); }),
  h('leaves_at_once', async (ctx) => { late = Promise.all(Array.from({ length: 5 }, () => call(ctx, big))); }),
  { ...h('ignores', async (ctx) => {
    await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve));
    late = Promise.all([0, 50, 500].map((ms) => sleep(ms).then(() => call(ctx, big))));
    await sleep(100);
  }), timeoutMs: 200 },
  h('reads', async () => Promise.race([late, sleep(3_000).then(() => 'never settled')])),
  h('asks', async (ctx) => Promise.race([call(ctx, 'short'), sleep(3_000).then(() => 'waits for ever')])),
];
`;

let pool: BuiltPool;
beforeAll(async () => {
  pool = await openPool(handlers);
});
afterAll(() => pool.close());

it.each([['leaves'], ['leaves_at_once']])('of a handler that %s are refused', async (type) => {
  expect(await pool.run(type)).toMatchObject({ toState: 'completed' });
  const { result } = await pool.run('reads');
  expect(result).toEqual(
    Array.from({ length: 5 }, () => expect.stringMatching(/^llm_aborted: the attempt ended/)),
  );
  const asked = await pool.run('asks');
  expect(asked.result).not.toBe('waits for ever');
});

it('of a handler that goes on after its deadline are refused', async () => {
  expect(await pool.run('ignores')).toMatchObject({ toState: 'failed' });
  const { result } = await pool.run('reads');
  expect(result).toEqual(Array.from({ length: 3 }, () => expect.stringMatching(/^llm_aborted/)));
  expect((await pool.run('asks')).result).not.toBe('waits for ever');
});
