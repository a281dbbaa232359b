/** Attempts travel to a thread together: what one of them does to it is still no other's fault, and its deadline holds. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AttemptEnd } from '../../../src/jobs/attempts.ts';
import { Outbox } from '../../../src/worker/executors/outbox.ts';
import { openPool } from './built-executors.ts';
import type { BuiltPool } from './built-executors.ts';

const handlers = `
const until = (ms) => { for (const end = performance.now() + ms; performance.now() < end;); };
const h = (type, run, more = {}) => ({ type, timeoutMs: 400, maxAttempts: 3, run, ...more });
export const handlers = [
  h('quick', async () => 'quick'),
  h('spins', () => { for (;;); }),
  h('validates', async () => 'never', { payload: { '~standard': { version: 1, vendor: 'test', validate: () => { for (;;); } } } }),
  h('computes', () => { until(5); return 'computed'; }),
  h('hog', () => { const a = []; for (;;) a.push({ a }); }, { timeoutMs: 60_000 }),
  h('spins_alone', () => { for (;;); }, { isolation: 'exclusive' }),
];
`;

let pool: BuiltPool;
beforeEach(async () => {
  pool = await openPool(handlers);
});
afterEach(() => pool.close());

const many = (type: string, count: number) => Array.from({ length: count }, () => pool.run(type));
const blamed = (ends: readonly AttemptEnd[]) =>
  ends.filter(({ lost, suspect }) => lost !== undefined || suspect !== undefined);

describe.each(['spins', 'validates', 'hog'])('when the code of one attempt of many %s', (type) => {
  it('at once, those after it run elsewhere, and no one else is blamed', async () => {
    const before = many('quick', 20);
    const bad = pool.run(type);
    const after = many('quick', 20);
    expect(await bad).toMatchObject({ toState: 'pending', countsAttempt: false, suspect: true });
    expect((await Promise.all(after)).map(({ toState }) => toState)).toEqual(
      Array(20).fill('completed'),
    );
    // Those whose end was not sent any more run again.
    const ended = await Promise.all(before);
    expect(blamed(ended)).toEqual([]);
    const outcomes = ended.map(({ countsAttempt, toState }) => `${toState} ${countsAttempt}`);
    expect(outcomes.filter((text) => !/^completed true|pending false$/.test(text))).toEqual([]);
  }, 60_000);
});

it('an attempt that blocks its own thread or process at once has its deadline', async () => {
  const alone = await Promise.all([pool.run('spins_alone'), pool.run('spins', { isolated: true })]);
  for (const end of alone) {
    expect(end).toMatchObject({ toState: 'failed', error: { code: 'job_timeout' } });
  }
});

it('what attempts of one turn report arrives while the others of that turn still compute', async () => {
  const ended: number[] = [];
  const ends = Array.from({ length: 8 }, async (_, at) => {
    await pool.run('computes');
    ended.push(at);
  });
  const bad = pool.run('spins');
  await Promise.all(ends);
  expect(ended).toHaveLength(8);
  expect(await bad).toMatchObject({ suspect: true });
});

describe('an outbox', () => {
  it('sends what is added in one turn as one, in order, and what is flushed at once', async () => {
    const sent: (readonly number[])[] = [];
    const outbox = new Outbox<number>((messages) => sent.push(messages));
    for (let n = 0; n < 3; n += 1) outbox.add(n);
    await Promise.resolve();
    expect(sent).toEqual([]);
    await new Promise(setImmediate);
    expect(sent).toEqual([[0, 1, 2]]);
    outbox.add(3);
    outbox.flush();
    outbox.flush();
    outbox.add(4);
    await new Promise(setImmediate);
    expect(sent).toEqual([[0, 1, 2], [3], [4]]);
  });
});
