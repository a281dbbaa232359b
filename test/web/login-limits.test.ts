/** Guessing passwords: the limits per address, per account and in total, and who decides what the address is. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLoginLimits } from '../../src/web/login-limits.ts';
import { basic, credentials, startFixture } from './web-fixture.ts';
import type { WebFixture } from './web-fixture.ts';

interface Attempt {
  readonly from: string;
  readonly user?: string;
  readonly password?: string;
}

/** Status of each attempt, all sent at once; `from` is the value of X-Forwarded-For. */
async function attempt(fixture: WebFixture, attempts: readonly Attempt[]): Promise<number[]> {
  const answers = await Promise.all(
    attempts.map(({ from, user = credentials.user, password = 'a wrong guess' }) =>
      fixture.request('/queues', {
        headers: { authorization: basic(user, password), 'x-forwarded-for': from },
      }),
    ),
  );
  return answers.map(({ status }) => status);
}

const count = (statuses: readonly number[], wanted: number): number =>
  statuses.filter((status) => status === wanted).length;

const guesses = (amount: number, attemptOf: (index: number) => Attempt): Attempt[] =>
  Array.from({ length: amount }, (_, index) => attemptOf(index));
const addressOf = (index: number): string => `198.51.${Math.floor(index / 250)}.${index % 250}`;

describe('without trusted proxies', () => {
  let fixture: WebFixture;
  beforeAll(async () => {
    fixture = await startFixture();
  });
  afterAll(() => fixture.close());

  it('400 guesses from one peer end after ten, whatever X-Forwarded-For says', async () => {
    const statuses = await attempt(
      fixture,
      guesses(400, (index) => ({ from: addressOf(index) })),
    );
    expect([count(statuses, 401), count(statuses, 429)]).toEqual([10, 390]);
  });
});

describe('behind a trusted proxy', () => {
  let fixture: WebFixture;
  beforeAll(async () => {
    fixture = await startFixture(undefined, { trustedProxies: ['127.0.0.0/8'] });
  });
  afterAll(() => fixture.close());

  it('an address is locked out after ten wrong passwords, and no other address', async () => {
    // The proxy appends the address that it saw; what precedes it is the client's own text.
    const own = (index: number): string => `${addressOf(index)}, 203.0.113.9`;
    const statuses = await attempt(
      fixture,
      guesses(30, (index) => ({ from: own(index) })),
    );
    expect([count(statuses, 401), count(statuses, 429)]).toEqual([10, 20]);
    const right = await attempt(fixture, [
      { from: '203.0.113.9', password: credentials.password },
      { from: '203.0.113.10', password: credentials.password },
    ]);
    expect(right).toEqual([429, 200]);
  });

  it('guesses at one account from many addresses end at the limit of the account', async () => {
    const statuses = await attempt(
      fixture,
      guesses(200, (index) => ({ from: addressOf(index) })),
    );
    // Ten of the fifty went to the address of the test before this one.
    expect([count(statuses, 401), count(statuses, 429)]).toEqual([40, 160]);
    const operator = { password: credentials.password };
    expect(await attempt(fixture, [{ ...operator, from: '203.0.113.200' }])).toEqual([429]);
    // An address that logged in before the attack is not locked out by it.
    expect(await attempt(fixture, [{ ...operator, from: '203.0.113.10' }])).toEqual([200]);
  });

  it('guesses at many accounts from many addresses end at the total limit', async () => {
    const statuses = await attempt(
      fixture,
      guesses(300, (index) => ({ from: addressOf(1_000 + index), user: `user-${index}` })),
    );
    // Fifty of the two hundred went to the tests before this one.
    expect([count(statuses, 401), count(statuses, 429)]).toEqual([150, 150]);
  });
});

describe('the limits', () => {
  const minute = 60_000;
  const from = (address: string, account = 'operator') => ({ address, account });

  it('count the addresses of one IPv6 network of 64 bits as one', () => {
    const limits = createLoginLimits();
    for (let index = 0; index < 10; index += 1) {
      limits.failed(from(`2001:db8:0:7::${index.toString(16)}`), 0);
    }
    expect(limits.retryAfterSeconds(from('2001:db8:0:7:1:2:3:4'), 1_000)).toBe(59);
    expect(limits.retryAfterSeconds(from('2001:db8:0:8::1'), 1_000)).toBe(0);
  });

  it('end with their time window', () => {
    const limits = createLoginLimits();
    for (let index = 0; index < 10; index += 1) limits.failed(from('192.0.2.1'), index);
    expect(limits.retryAfterSeconds(from('192.0.2.1'), 1_000)).toBe(59);
    expect(limits.retryAfterSeconds(from('192.0.2.1'), minute)).toBe(0);
  });

  it('hold for an address that logged in before as for any other, but for its own guesses only', () => {
    const limits = createLoginLimits();
    limits.succeeded(from('192.0.2.1'));
    for (let index = 0; index < 100; index += 1) limits.failed(from(addressOf(index)), 0);
    expect(limits.retryAfterSeconds(from('192.0.2.2'), 1_000)).toBe(59);
    expect(limits.retryAfterSeconds(from('192.0.2.1'), 1_000)).toBe(0);
    for (let index = 0; index < 10; index += 1) limits.failed(from('192.0.2.1'), 0);
    expect(limits.retryAfterSeconds(from('192.0.2.1'), 1_000)).toBe(59);
  });
});
