/** Code that a handler leaves running when it returns, and that blocks its thread: the job is blamed, and its attempts end. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPool } from './built-executors.ts';
import type { BuiltPool } from './built-executors.ts';

const handlers = `
const forever = () => { for (;;); };
const leave = {
  'an immediate': () => setImmediate(forever),
  'a next tick': () => process.nextTick(forever),
  microtasks: () => void (async () => { for (;;) await null; })(),
};
const run = async ({ payload }) => { leave[payload.how](); return 'returned'; };
const h = (type, isolation) => ({ type, timeoutMs: 1_000, maxAttempts: 3, isolation, run });
export const handlers = [
  h('shared', 'shared'),
  h('exclusive', 'exclusive'),
  { ...h('short', 'shared'), run: async () => 'short' },
];
`;

let pool: BuiltPool;
beforeAll(async () => {
  pool = await openPool(handlers);
});
afterAll(() => pool.close());

describe.each(['an immediate', 'a next tick', 'microtasks'])('%s that never ends', (how) => {
  const payload = JSON.stringify({ how });

  it('makes its job a suspect, which runs alone next', async () => {
    // Another job has run in the thread, so that the blocked one is not known to be alone.
    await pool.run('short');
    const end = await pool.run('shared', { payload });
    expect(end).toMatchObject({ toState: 'pending', countsAttempt: false, suspect: true });
    expect(await pool.run('short')).toMatchObject({ toState: 'completed' });
  });

  it.each([
    ['shared', { isolated: true }],
    ['exclusive', {}],
  ])('counts as a failure of a job that runs alone (%s)', async (type, more) => {
    const end = await pool.run(type, { payload, ...more });
    expect(end).toMatchObject({ toState: 'failed', error: { code: 'job_timeout' } });
  });
});
