/** A payload of any depth reaches its handler, or ends its own job and no other one: it travels as text. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPool } from './built-executors.ts';
import type { BuiltPool } from './built-executors.ts';

const handlers = `
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const h = (type, run, more) => ({ type, timeoutMs: 5_000, maxAttempts: 3, run, ...more });
const depth = ({ payload }) => { let levels = 0; for (let v = payload; v; v = v.a) levels += 1; return levels; };
const walk = (value) => (value ? 1 + walk(value.a) : 0);
export const handlers = [
  h('nap', async () => { await sleep(300); return 'slept'; }),
  h('depth', async (ctx) => depth(ctx)),
  h('walks', async ({ payload }) => walk(payload)),
  h('exclusive', async (ctx) => depth(ctx), { isolation: 'exclusive' }),
];
`;

let pool: BuiltPool;
beforeAll(async () => {
  pool = await openPool(handlers);
});
afterAll(() => pool.close());

/** JSON of objects inside objects. */
const nested = (levels: number): string =>
  '{"a":'.repeat(levels - 1) + '{}' + '}'.repeat(levels - 1);

describe.each([
  ['a shared thread', 'depth', false],
  ['a thread of its own', 'exclusive', false],
  ['a process of its own', 'depth', true],
])('in %s', (_, type, isolated) => {
  it.each([100, 1_001, 2_500, 3_500, 4_500, 100_000])(
    'a payload that is nested %d deep arrives',
    async (levels) => {
      const end = await pool.run(type, { payload: nested(levels), isolated });
      expect(end).toMatchObject({ toState: 'completed', result: levels });
    },
  );

  it('one that is no JSON ends as a dead letter; other jobs go on', async () => {
    const other = pool.run('nap');
    const end = await pool.run(type, { payload: '{"a":', isolated });
    expect(end).toMatchObject({
      toState: 'dead_letter',
      error: { code: 'payload_not_delivered' },
    });
    expect(await other).toMatchObject({ toState: 'completed' });
    expect(await pool.run(type, { isolated })).toMatchObject({ toState: 'completed' });
  });
});

it('one that is too deep for its handler fails its own attempt', async () => {
  const other = pool.run('nap');
  const end = await pool.run('walks', { payload: nested(100_000) });
  expect(end).toMatchObject({
    toState: 'failed',
    error: { message: expect.stringMatching(/call stack/) },
  });
  expect(await other).toMatchObject({ toState: 'completed' });
});

it('no executor was killed for it', () => {
  expect(pool.events()).not.toContain('executor_killed');
});
