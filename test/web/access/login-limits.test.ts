/** Guessing passwords: the paces per address, per account and in total, and who decides what the address is. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLoginLimits, loginPaces } from '../../../src/web/access/login-limits.ts';
import type { LoginAttempt, LoginLimits } from '../../../src/web/access/login-limits.ts';
import { basic, credentials, refusing, startFixture } from '../web-fixture.ts';
import type { WebFixture } from '../web-fixture.ts';

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
    fixture = await startFixture(undefined, { loginPaces: refusing });
  });
  afterAll(() => fixture.close());

  it('100 guesses from one peer end after ten, whatever X-Forwarded-For says', async () => {
    const statuses = await attempt(
      fixture,
      guesses(100, (index) => ({ from: addressOf(index) })),
    );
    expect([count(statuses, 401), count(statuses, 429)]).toEqual([10, 90]);
  });
});

describe('behind a trusted proxy', () => {
  let fixture: WebFixture;
  beforeAll(async () => {
    const options = { trustedProxies: ['127.0.0.0/8'], loginPaces: refusing };
    fixture = await startFixture(undefined, options);
  });
  afterAll(() => fixture.close());

  it('guesses of one address do not delay another', async () => {
    // The proxy appends the address that it saw; what precedes it is the client's own text.
    const own = (index: number): string => `${addressOf(index)}, 203.0.113.9`;
    const statuses = await attempt(
      fixture,
      guesses(60, (index) => ({ from: own(index), user: 'somebody' })),
    );
    expect([count(statuses, 401), count(statuses, 429)]).toEqual([10, 50]);
    const right = await attempt(fixture, [
      { from: '203.0.113.9', password: credentials.password },
      { from: '203.0.113.10', password: credentials.password },
    ]);
    expect(right).toEqual([429, 200]);
  });

  it('guesses at one account from 200 addresses delay no address that logged in before', async () => {
    const statuses = await attempt(
      fixture,
      guesses(200, (index) => ({ from: addressOf(index) })),
    );
    expect([count(statuses, 401), count(statuses, 429)]).toEqual([20, 180]);
    const right = { password: credentials.password, from: '203.0.113.10' };
    expect(await attempt(fixture, [right, right, right])).toEqual([200, 200, 200]);
  });
});

describe('the paces', () => {
  const from = (address: string, account = 'operator', device?: string): LoginAttempt => ({
    address,
    account,
    device,
  });
  const minuteMs = 60_000;

  /** Attempts spread evenly over a time; how many had their turn, and the longest wait of those. */
  function storm(
    limits: LoginLimits,
    attempts: number,
    overMs: number,
    attemptOf: (index: number) => LoginAttempt,
  ): { turns: number; longestMs: number } {
    let turns = 0;
    let longestMs = 0;
    for (let index = 0; index < attempts; index += 1) {
      const admission = limits.admit(attemptOf(index), (index * overMs) / attempts);
      if (!admission.turn) continue;
      turns += 1;
      longestMs = Math.max(longestMs, admission.waitMs);
    }
    return { turns, longestMs };
  }

  const { address, account, total, maxWaitMs } = loginPaces;
  const turnsIn = (ms: number, pace: { burst: number; everyMs: number }): number =>
    pace.burst + Math.ceil((ms + maxWaitMs) / pace.everyMs) + 1;

  it('give 10,000 addresses no more guesses at an account than its pace', () => {
    const { turns, longestMs } = storm(createLoginLimits(), 10_000, minuteMs, (index) =>
      from(addressOf(index)),
    );
    expect(turns).toBeGreaterThan(account.burst);
    expect(turns).toBeLessThanOrEqual(turnsIn(minuteMs, account));
    expect(longestMs).toBeLessThanOrEqual(maxWaitMs);
  });

  it('give 10,000 addresses that guess at 10,000 accounts no more guesses than the pace in total', () => {
    const { turns } = storm(createLoginLimits(), 10_000, minuteMs, (index) =>
      from(addressOf(index), `user-${index}`),
    );
    expect(turns).toBeLessThanOrEqual(turnsIn(minuteMs, total));
  });

  it('give one address no more guesses than its pace, at however many accounts', () => {
    const { turns } = storm(createLoginLimits(), 10_000, minuteMs, (index) =>
      from('192.0.2.1', `user-${index}`),
    );
    expect(turns).toBeLessThanOrEqual(turnsIn(minuteMs, address));
  });

  it('leave a browser that logged in before, and an address that did, their own', () => {
    const limits = createLoginLimits();
    limits.admit(from('192.0.2.1'), 0);
    limits.succeeded(from('192.0.2.1'));
    storm(limits, 10_000, minuteMs, (index) => from(addressOf(index)));
    const atOnce = { turn: true, waitMs: 0 };
    expect(limits.admit(from('192.0.2.1'), minuteMs)).toEqual(atOnce);
    expect(limits.admit(from('203.0.113.5', 'operator', 'its device'), minuteMs)).toEqual(atOnce);
    expect(limits.admit(from('203.0.113.5'), minuteMs)).not.toEqual(atOnce);
  });

  it('hold for such a browser and such an address too', () => {
    const limits = createLoginLimits();
    limits.succeeded(from('192.0.2.1'));
    const ofAddress = storm(limits, 1_000, minuteMs, () => from('192.0.2.1'));
    const ofDevice = storm(limits, 1_000, minuteMs, (index) =>
      from(addressOf(index), 'operator', 'its device'),
    );
    expect(ofAddress.turns).toBeLessThanOrEqual(turnsIn(minuteMs, address));
    expect(ofDevice.turns).toBeLessThanOrEqual(turnsIn(minuteMs, address));
  });

  it('delay: after a storm an account has its turn again, by waiting', () => {
    const limits = createLoginLimits();
    storm(limits, 10_000, minuteMs, (index) => from(addressOf(index)));
    expect(limits.admit(from('203.0.113.5'), minuteMs + account.everyMs)).toMatchObject({
      turn: true,
    });
    // And has no wait at all once the turns are paid off.
    const paidOffMs = minuteMs + maxWaitMs + account.burst * account.everyMs;
    expect(limits.admit(from('203.0.113.6'), paidOffMs)).toEqual({ turn: true, waitMs: 0 });
  });

  it('count the addresses of one IPv6 network of 64 bits as one', () => {
    const limits = createLoginLimits({ ...loginPaces, maxWaitMs: 0 });
    for (let index = 0; index < address.burst; index += 1) {
      limits.admit(from(`2001:db8:0:7::${index.toString(16)}`), 0);
    }
    expect(limits.admit(from('2001:db8:0:7:1:2:3:4'), 1_000)).toEqual({
      turn: false,
      retryAfterSeconds: 5,
    });
    expect(limits.admit(from('2001:db8:0:8::1'), 1_000)).toMatchObject({ turn: true });
  });

  it('give the turn of a right password back', () => {
    const limits = createLoginLimits({ ...loginPaces, maxWaitMs: 0 });
    for (let index = 0; index < 100; index += 1) {
      expect(limits.admit(from('192.0.2.1'), 0)).toMatchObject({ turn: true });
      limits.succeeded(from('192.0.2.1'));
    }
  });
});
