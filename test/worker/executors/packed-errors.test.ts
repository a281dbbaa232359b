/** Errors between threads and processes: through structured clone and through JSON. */
import { describe, expect, it } from 'vitest';
import { BudgetExceededError } from '../../../src/budget/budget-exceeded.ts';
import { JobTimeoutError, PurserError, UsageError } from '../../../src/errors.ts';
import { LlmError, LlmOutputError } from '../../../src/llm/llm.ts';
import { endOfThrow } from '../../../src/worker/classify.ts';
import { packError, unpackError } from '../../../src/worker/executors/packed-errors.ts';
import type { PackedError } from '../../../src/worker/executors/packed-errors.ts';

const borders: readonly [string, (packed: PackedError) => PackedError][] = [
  ['a thread', (packed) => structuredClone(packed)],
  ['a pipe', (packed) => JSON.parse(JSON.stringify(packed)) as PackedError],
];

const resetsAt = new Date('2026-07-01T00:00:00Z');
const refusal = (limitNanoUsd: bigint) =>
  new BudgetExceededError({
    tenantId: 'acme',
    limitNanoUsd,
    usedNanoUsd: 1n,
    reservedNanoUsd: 2n,
    neededNanoUsd: 12_345_678_901_234_567_890n,
    resetsAt,
  });

class HandlerError extends PurserError {
  override readonly name = 'HandlerError';
}

const ours: readonly [string, PurserError][] = [
  ['a PurserError', new PurserError('no_such_thing', 'gone', { status: 404, exitCode: 69 })],
  [
    'a PurserError with details',
    new PurserError('x', 'y', {
      details: { class: 'snooze', retryAfterMs: 5, deep: [{ a: null }] },
    }),
  ],
  ['a UsageError', new UsageError('wrong', { details: { field: 'a' } })],
  ['a JobTimeoutError', new JobTimeoutError('slow_job', 1234)],
  ['a refused budget', refusal(20_000_000_000_000_000_000n)],
  ['a budget that never admits it', refusal(1n)],
  [
    'an LlmError',
    new LlmError('llm_rate_limited', 'wait', {
      class: 'snooze',
      outcome: 'released',
      retryAfterMs: 7000,
    }),
  ],
  ['an LlmOutputError', new LlmOutputError('{"a": 7', ['the answer is not JSON', 'a: wrong'])],
];

/** Everything that an error says, whether or not it can be enumerated. */
function told(error: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.getOwnPropertyNames(error).map((key) => [key, Reflect.get(error, key)]),
  );
}

describe.each(borders)('across %s', (_border, cross) => {
  const over = (thrown: unknown) => unpackError(cross(packError(thrown)));

  it.each(ours)('%s comes out as an instance of its class with every field', (_name, error) => {
    const revived = over(error);
    expect(revived).toBeInstanceOf(error.constructor);
    expect(revived.constructor).toBe(error.constructor);
    expect(told(revived)).toEqual(told(error));
    expect(String(revived)).toBe(String(error));
  });

  it.each(ours)('%s ends its job the same way', (_name, error) => {
    const now = new Date('2026-06-15T00:00:00Z');
    const backoff = { baseMs: 0, capMs: 0 };
    const attempt = {
      jobId: '1',
      tenantId: 'acme',
      jobType: 't',
      payload: '{}',
      attempt: 1,
      maxAttempts: 5,
      token: 'x',
      createdAt: now,
      scheduledFor: now,
      isolated: false,
      isolatedCrashes: 0,
    };
    const facts = { attempt, handler: { onBudget: 'park', backoff } as const, now, backoff };
    expect(endOfThrow(over(error), facts)).toEqual(endOfThrow(error, facts));
  });

  it("a handler's own subclass of PurserError keeps its name and its failure class", () => {
    const error = new HandlerError('mine', 'of my own', { details: { class: 'fatal' } });
    const revived = over(error);
    expect(revived).toBeInstanceOf(PurserError);
    expect(revived).toMatchObject({ name: 'HandlerError', details: { class: 'fatal' } });
  });

  it('an error of a foreign class keeps name, message, stack, code and status', () => {
    const error = Object.assign(new TypeError('bad'), { code: 'ECONNRESET', statusCode: 422 });
    const revived = over(error);
    expect(revived).toBeInstanceOf(Error);
    expect(revived).not.toBeInstanceOf(PurserError);
    expect(told(revived)).toEqual({
      name: 'TypeError',
      message: 'bad',
      stack: error.stack,
      code: 'ECONNRESET',
      status: 422,
    });
  });

  it('causes are kept to a depth, and a cycle of causes ends', () => {
    const inner = new JobTimeoutError('inner', 1);
    const revived = over(new Error('outer', { cause: new Error('middle', { cause: inner }) }));
    const middle = revived.cause;
    expect(middle).toMatchObject({ message: 'middle' });
    expect(middle instanceof Error && middle.cause).toBeInstanceOf(JobTimeoutError);

    const circle = new Error('round');
    circle.cause = circle;
    expect(over(circle)).toMatchObject({ cause: { cause: { message: 'round' } } });
  });

  it.each<[string, unknown, string]>([
    ['null', null, 'null'],
    ['undefined', undefined, 'undefined'],
    ['text', 'out of paper', 'out of paper'],
    ['a number', 7, '7'],
    ['a BigInt', 10n ** 30n, '1000000000000000000000000000000'],
    ['a symbol', Symbol('s'), 'Symbol(s)'],
    ['a function', () => {}, 'something was thrown that has no message; throw an Error'],
    ['an empty object', {}, 'something was thrown that has no message; throw an Error'],
    ['an object', { reason: 'odd', n: 1n }, '{"reason":"odd","n":"1"}'],
    ['an object with a message', { message: 'hm', code: 'E1' }, 'hm'],
    ['an error without prototype', Object.assign(Object.create(null), { message: 'm' }), 'm'],
  ])('%s that was thrown becomes an Error with its text', (_name, thrown, message) => {
    const revived = over(thrown);
    expect(revived).toBeInstanceOf(Error);
    expect(revived.message).toBe(message);
    expect(revived.stack).toContain(message);
  });

  it('the reason of an abort without a reason stays an AbortError', () => {
    expect(over(AbortSignal.abort().reason)).toMatchObject({ name: 'AbortError' });
  });
});

describe('packing ends, with a bounded size, whatever is thrown', () => {
  const circular: Record<string, unknown> = { class: 'fatal' };
  circular['self'] = [circular, { circular }];
  const trap = () => {
    throw new Error('trap');
  };
  const trapped = new Proxy({}, { get: trap, getPrototypeOf: trap, ownKeys: trap, has: trap });
  const { proxy: revoked, revoke } = Proxy.revocable({}, {});
  revoke();
  const deep: Record<string, unknown> = {};
  for (let at = deep, depth = 0; depth < 100_000; depth += 1) {
    const next = {};
    at['next'] = next;
    at = next;
  }
  const wide = Array.from({ length: 100 }, (_, n) => ({ n }));
  const laughs = Array.from({ length: 12 }).reduce<unknown>(
    (inner) => Array(100).fill(inner),
    'ha',
  );
  const withDetails = (details: Record<string, unknown>) =>
    new PurserError('own', 'says', { details });
  const withGetter = (key: string) =>
    Object.defineProperty(new PurserError('own', 'says'), key, { get: trap });

  it.each<[string, unknown]>([
    ['a proxy that throws', trapped],
    ['a revoked proxy', revoked],
    ['an error whose prototype lies', Object.create(BudgetExceededError.prototype)],
    ['an answer error that lost its text', Object.assign(new LlmOutputError('', []), { text: 7 })],
    ['a refusal that never ends', Object.assign(refusal(1n), { resetsAt: new Date(Number.NaN) })],
    ['details that throw', withDetails({ a: trapped, b: revoked })],
    ['details in a circle', withDetails(circular)],
    ['details too deep', withDetails(deep)],
    ['details too many', withDetails(Object.fromEntries(wide.entries()))],
    ['details that multiply', withDetails({ laughs })],
    ['details that are all text', withDetails({ texts: Array(1000).fill('x'.repeat(10_000)) })],
    ['details that no clone takes', withDetails({ f: trap, s: Symbol('s'), w: new WeakMap() })],
    ['details of 10 MB', withDetails({ bytes: Buffer.alloc(10_000_000), text: 'x'.repeat(1e7) })],
    ['a million details', withDetails(Object.fromEntries(Array(1e6).fill(0).entries()))],
    ['an object in a circle', circular],
    ['an object with the key __proto__', JSON.parse('{"__proto__": {"a": 1}}')],
    ['a message of 100 MB', new Error('m'.repeat(100_000_000))],
    ['100 MB of text', 't'.repeat(100_000_000)],
    ['an answer of 100 MB', new LlmOutputError('a'.repeat(100_000_000), [])],
    [
      'a name and a code of 10 MB',
      Object.assign(new Error('m'), { name: 'n'.repeat(1e7), code: 'c'.repeat(1e7) }),
    ],
    ...['name', 'message', 'stack', 'code', 'status', 'cause', 'details', 'exitCode'].map(
      (key): [string, unknown] => [`a ${key} that throws`, withGetter(key)],
    ),
  ])('%s', (_name, thrown) => {
    const packed = packError(thrown);
    const json = JSON.stringify(packed);
    expect(json.length).toBeLessThan(packed.kind === 'LlmOutputError' ? 11_000_000 : 100_000);
    expect(structuredClone(packed)).toEqual(packed);
    expect(JSON.parse(json)).toEqual(packed);
    const revived = unpackError(packed);
    expect(revived).toBeInstanceOf(Error);
    expect(typeof revived.message).toBe('string');
  });

  it('a field that throws on reading does not affect the others', () => {
    for (const key of ['stack', 'status', 'cause', 'details', 'exitCode']) {
      expect(unpackError(packError(withGetter(key)))).toMatchObject({
        code: 'own',
        message: 'says',
      });
    }
  });

  it('a detail that is huge or unreadable does not affect the others', () => {
    const many = Array.from({ length: 100_000 }, (_, n) => n);
    const details = { many, circular, trapped, deep, class: 'fatal', retryAfterMs: 7 };
    const revived = unpackError(packError(withDetails(details)));
    expect(revived).toMatchObject({ details: { class: 'fatal', retryAfterMs: 7 } });
  });

  it('a long message is truncated, and the frames of the stack are kept', () => {
    const error = new Error('m'.repeat(1_000_000));
    const { message, stack } = unpackError(packError(error));
    expect(message).toMatch(/^m{10000} \[cut at 10000\]$/);
    expect(stack).toMatch(/^Error: m{10000} \[cut at 10000\]\n +at .*packed-errors\.test\.ts/);
  });

  it('an unreadable value is reported as unreadable', () => {
    expect(unpackError(packError(trapped))).toMatchObject({
      code: 'unreadable_error',
      message: expect.stringContaining('cannot be read'),
    });
  });
});
