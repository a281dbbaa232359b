/** A payload that cannot be sent to an executor ends its own job, and no other one. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attemptOf, openPool } from './built-executors.ts';
import type { BuiltPool } from './built-executors.ts';

const handlers = `
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const h = (type, run, more) => ({ type, timeoutMs: 5_000, maxAttempts: 3, run, ...more });
export const handlers = [
  h('nap', async () => { await sleep(300); return 'slept'; }),
  h('exclusive', async () => 'ran', { isolation: 'exclusive' }),
];
`;

let pool: BuiltPool;
beforeAll(async () => {
  pool = await openPool(handlers);
});
afterAll(() => pool.close());

/** Objects inside objects. */
function nested(levels: number): object {
  let value: object = {};
  for (let level = 1; level < levels; level += 1) value = { a: value };
  return value;
}

describe.each([
  ['a shared thread', 'nap', false],
  ['a thread of its own', 'exclusive', false],
  ['a process of its own', 'nap', true],
])('for %s', (_, type, isolated) => {
  it.each([
    ['nested 4,500 deep', () => nested(4_500)],
    ['nested 100,000 deep', () => nested(100_000)],
    ['a function', () => ({ run: () => {} })],
  ])('a payload that is %s ends as a dead letter; other jobs go on', async (__, payload) => {
    const other = pool.run('nap');
    const end = await pool.run(type, { payload: payload(), isolated });
    expect(end).toMatchObject({
      toState: 'dead_letter',
      error: { code: 'payload_not_delivered', message: expect.stringMatching(/flatter/) },
    });
    expect(await other).toMatchObject({ toState: 'completed' });
    expect(await pool.run(type, { isolated })).toMatchObject({ toState: 'completed' });
  });
});

it.each([1_001, 2_500, 3_500])(
  'a payload nested %d deep ends as a dead letter in a process of its own, which could not read it',
  async (levels) => {
    const end = await pool.run('nap', { payload: nested(levels), isolated: true });
    expect(end).toMatchObject({
      toState: 'dead_letter',
      error: { code: 'payload_not_delivered', message: expect.stringMatching(/flatter/) },
    });
  },
);

it('one nested 100 deep, the most that is enqueued, arrives in a process of its own', async () => {
  const end = await pool.run('nap', { payload: nested(100), isolated: true });
  expect(end).toMatchObject({ toState: 'completed' });
});

it('no executor was killed for it', () => {
  expect(pool.events()).not.toContain('executor_killed');
});

it('at every depth the payload arrives, or its job ends', async () => {
  const depths = Array.from({ length: 40 }, (_, step) => 500 + step * 150);
  const ends = await Promise.all(
    depths.map((levels) => pool.run('nap', { ...attemptOf('nap'), payload: nested(levels) })),
  );
  const states = new Set(ends.map(({ toState }) => toState));
  expect(states).toEqual(new Set(['completed', 'dead_letter']));
});
