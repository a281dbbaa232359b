import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SecretTexts } from '../../src/crypto/secrets/texts.ts';
import { storableFault, storableResult } from '../../src/worker/store-value.ts';
import { packError } from '../../src/worker/executors/packed-errors.ts';
import { endOfReturn, endOfThrow } from '../../src/worker/classify.ts';
import { cancel, retry, snooze } from '../../src/handlers/outcome.ts';
import { finishAttempts } from '../../src/jobs/attempts.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import { addJobType, jobRow, runningJob } from '../jobs/job-steps.ts';

let test: TestDatabase;
let tenantId: string;
beforeAll(async () => {
  test = await freshDatabase();
  await addJobType(test.sql);
  tenantId = await addTenant(test.sql);
});
afterAll(() => test.close());

function nested(depth: number): unknown {
  let value: unknown = 'core';
  for (let n = 0; n < depth; n += 1) value = [value];
  return value;
}
const circular: Record<string, unknown> = { name: 'ring' };
circular['self'] = circular;
const factsNow = new Date();

const hostileResults: Record<string, () => unknown> = {
  undefined: () => undefined,
  null: () => null,
  'a function': () => () => 1,
  'a circle': () => circular,
  'a BigInt': () => ({ n: 1n }),
  '2 MB': () => 'x'.repeat(2_000_000),
  'NUL in a value': () => ({ a: 'x\u0000y' }),
  'NUL in a key': () => ({ 'x\u0000y': 1 }),
  'half a surrogate pair in a value': () => ['\uD83D'],
  'half a surrogate pair in a key': () => ({ deep: { '\uDE00': 1 } }),
  'text that looks like an escape': () => ({ path: String.raw`C:\u0000\ud800` }),
  'a key that looks like an escape': () => ({ [String.raw`\u0000`]: 1 }),
  'a key __proto__': () => JSON.parse('{"__proto__": {"a": 1}}'),
  '100,000 levels': () => nested(100_000),
  '5,000 levels': () => nested(5_000),
  'a toJSON that throws': () => ({
    toJSON: () => {
      throw new Error('no');
    },
  }),
  'not a number': () => ({ n: Number.NaN, i: Number.POSITIVE_INFINITY }),
  'a date': () => new Date(0),
};

const unreadable = new Error('x');
Object.defineProperty(unreadable, 'stack', {
  get: () => {
    throw new Error('no stack for you');
  },
});
const odd = new Error('x');
Object.defineProperty(odd, 'message', { value: { not: 'text' } });
const trap = new Proxy(
  {},
  {
    get: () => {
      throw new Error('trap');
    },
    has: () => {
      throw new Error('trap');
    },
    getPrototypeOf: () => {
      throw new Error('trap');
    },
  },
);

const hostileThrows: Record<string, () => unknown> = {
  null: () => null,
  undefined: () => undefined,
  'a string': () => 'broken',
  'a symbol': () => Symbol('broken'),
  'a function': () => () => 1,
  'a circle': () => circular,
  'NUL in the message': () => new Error('a\u0000b\uD83D'),
  'a message that is no text': () => odd,
  'a stack that cannot be read': () => unreadable,
  'a code with NUL': () => Object.assign(new Error('x'), { code: 'a\u0000' }),
  'a trap': () => trap,
  'a message of 1 MB': () => new Error('m'.repeat(1_000_000)),
};

describe('the database stores, in one batch with another job', () => {
  const facts = async () => {
    const attempt = await runningJob(test.sql, tenantId);
    return {
      attempt,
      handler: { onBudget: 'park' as const, backoff: { baseMs: 1, capMs: 1 } },
      now: factsNow,
    };
  };

  // The runner prints arguments, and these cannot be printed: it gets their names only.
  it.each(Object.keys(hostileResults))('a result that is %s', async (what) => {
    const result = hostileResults[what]?.();
    const [one, neighbour] = [await facts(), await facts()];
    const answers = await finishAttempts(test.sql, [
      { ...one.attempt, end: endOfReturn(result, one) },
      { ...neighbour.attempt, end: endOfReturn('fine', neighbour) },
    ]);
    expect([...answers.values()]).toEqual(['applied', 'applied']);
    expect((await jobRow(test.sql, one.attempt.jobId)).state).toBe('completed');
    expect((await jobRow(test.sql, neighbour.attempt.jobId)).result).toBe('fine');
  });

  it.each(Object.keys(hostileThrows))('a throw of %s', async (what) => {
    const thrown = hostileThrows[what]?.();
    const one = await facts();
    await finishAttempts(test.sql, [{ ...one.attempt, end: endOfThrow(thrown, one) }]);
    const row = await jobRow(test.sql, one.attempt.jobId);
    expect(row.state).toBe('failed');
    expect(row.error?.code).toEqual(expect.stringMatching(/.+/));
  });

  it.each([
    ['cancel with NUL', cancel({ reason: 'a\u0000b' }), 'cancelled'],
    ['snooze with half a pair', snooze({ reason: '\uD83D', afterMs: 1 }), 'pending'],
    ['snooze for ever', snooze({ reason: 'x', afterMs: Number.POSITIVE_INFINITY }), 'pending'],
    ['retry with NUL', retry({ reason: '\u0000' }), 'failed'],
    ['retry in 300,000 years', retry({ reason: 'x', afterMs: 1e16 }), 'failed'],
    ['retry for ever', retry({ reason: 'x', afterMs: Number.POSITIVE_INFINITY }), 'failed'],
  ])('an outcome %s', async (_what, outcome, state) => {
    const one = await facts();
    const answers = await finishAttempts(test.sql, [
      { ...one.attempt, end: endOfReturn(outcome, one) },
    ]);
    expect([...answers.values()]).toEqual(['applied']);
    expect((await jobRow(test.sql, one.attempt.jobId)).state).toBe(state);
  });
});

describe('what is stored', () => {
  it('of numbers that are not finite and of invalid dates is their text, not null', () => {
    const result = {
      cost: Number.NaN,
      ratios: [Infinity, -Infinity, 1.5],
      until: new Date('infinity'),
      at: new Date(0),
      none: null,
    };
    expect(storableResult(result)).toEqual({
      cost: 'NaN',
      ratios: ['Infinity', '-Infinity', 1.5],
      until: 'Invalid Date',
      at: '1970-01-01T00:00:00.000Z',
      none: null,
    });
    expect(storableResult(new Date(Number.NaN))).toBe('Invalid Date');
  });

  it.each([
    [
      { a: ['x\u0000y', '\uD83D', 'whole \u{1F600}'] },
      { a: ['x\uFFFDy', '\uFFFD', 'whole \u{1F600}'] },
    ],
    [{ 'k\u0000': 1 }, { 'k\uFFFD': 1 }],
    [String.raw`\u0000 and \\u0000`, String.raw`\u0000 and \\u0000`],
    [new Date(0), '1970-01-01T00:00:00.000Z'],
    [{ gone: undefined, kept: 1 }, { kept: 1 }],
  ])('of %j is %j', (result, stored) => {
    expect(storableResult(result)).toEqual(stored);
  });

  it('of a value that is too large or has no JSON is a note with the reason', () => {
    expect(storableResult('x'.repeat(2_000_000))).toMatchObject({ reason: 'too large' });
    expect(storableResult({ n: 1n })).toMatchObject({ reason: expect.stringMatching(/BigInt/) });
    expect(storableResult(nested(500))).toMatchObject({ reason: expect.stringMatching(/deep/) });
  });

  it('of a value that is too large contains no part of a secret where it is cut', () => {
    const secrets = new SecretTexts();
    secrets.add('a-very-long-secret');
    const result = storableResult(`${'x'.repeat(9_990)}a-very-long-secret${'x'.repeat(2_000_000)}`);
    expect(JSON.stringify(secrets.redactValue(result))).not.toContain('a-very');
  });

  const noMessage = 'something was thrown that has no message; throw an Error';
  const thrownValues: Record<string, readonly [() => unknown, string]> = {
    'an error of another realm': [() => runInNewContext('new RangeError("from vm")'), 'from vm'],
    'an object with a message': [() => ({ message: 'told', code: 'E1' }), 'told'],
    'an object without one': [() => ({ reason: 'odd' }), '{"reason":"odd"}'],
    'an object with a number for one': [() => ({ message: 4, n: 1 }), '{"message":4,"n":1}'],
    'an empty object': [() => ({}), noMessage],
    'a map': [() => new Map([[1, 2]]), noMessage],
    'a function': [() => () => 1, noMessage],
    'an error whose message is an object': [
      () => Object.assign(new Error('x'), { message: { a: 1 } }),
      '{"a":1}',
    ],
    'an error whose message is a number': [
      () => Object.assign(new Error('x'), { message: 42 }),
      '42',
    ],
    'an error whose message is a circle': [
      () => Object.assign(new Error('x'), { message: circular }),
      expect.stringMatching(/^\{"name":"ring"/),
    ],
  };
  it.each(Object.keys(thrownValues))('of %s that was thrown is its message', (what) => {
    const [make, message] = thrownValues[what] ?? [];
    expect(storableFault(make?.()).message).toEqual(message);
    expect(packError(make?.()).message).toEqual(message);
  });

  it('of an error of another realm has its stack', () => {
    const thrown: unknown = runInNewContext('new RangeError("from vm")');
    for (const { stack } of [storableFault(thrown), packError(thrown)])
      expect(stack).toMatch(/^RangeError: from vm\n +at /);
  });

  it('of a thrown error has neither a password nor more than 4,000 characters of message', () => {
    const fault = storableFault(new Error(`postgres://ada:secret@db/x ${'m'.repeat(9_000)}`));
    expect(JSON.stringify(fault)).not.toContain('secret');
    expect(fault.message.length).toBeLessThan(4_050);
  });
});
