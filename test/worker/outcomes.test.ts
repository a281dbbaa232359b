/** How an attempt ends for what its handler returned or threw. */
import { describe, expect, it } from 'vitest';
import { JobTimeoutError, PurserError, UsageError } from '../../src/errors.ts';
import { cancel, park, retry, snooze } from '../../src/handlers/outcome.ts';
import type { BegunAttempt } from '../../src/jobs/attempts.ts';
import { endOfReturn, endOfThrow } from '../../src/worker/classify.ts';
import { endAfterKill } from '../../src/worker/executors/killed-attempts.ts';
import type { Kill } from '../../src/worker/executors/killed-attempts.ts';

const now = new Date('2026-11-24T12:00:00Z');
const attempt: BegunAttempt = {
  jobId: '1',
  tenantId: 'acme',
  jobType: 'report',
  payload: '{}',
  attempt: 1,
  maxAttempts: 3,
  token: '00000000-0000-4000-8000-000000000000',
  isolated: false,
  isolatedCrashes: 0,
};
const handler = { onBudget: 'park' as const, backoff: { baseMs: 0, capMs: 0 } };
const facts = { attempt, handler, now };
const thrown = (error: unknown) => endOfThrow(error, facts);

describe('park', () => {
  it('waits for the refused amount, uncounted, at the latest until its date', () => {
    expect(endOfReturn(park({ reason: 'dear', neededUsd: '0.25' }), facts)).toMatchObject({
      toState: 'parked',
      neededUsd: '0.25',
      countsAttempt: false,
    });
    const until = new Date('9998-11-25T00:00:00Z');
    expect(endOfReturn(park({ reason: 'x', neededUsd: '1', until }), facts)).toMatchObject({
      until,
    });
  });

  it('has no date when its own was changed to one that cannot be stored', () => {
    const end = (ms: number) => {
      const outcome = park({ reason: 'x', neededUsd: '1', until: new Date('9998-11-25') });
      outcome.until?.setTime(ms);
      return endOfReturn(outcome, facts);
    };
    for (const ms of [NaN, 8.64e15, -8.64e15, Date.UTC(9999, 0, 1)]) {
      expect(end(ms)).not.toHaveProperty('until');
    }
  });

  it.each([
    ['beyond time', 8.64e15],
    ['of five digits', Date.UTC(10_000, 0, 1)],
    ['of the year 9999', Date.UTC(9999, 0, 1)],
    ['before time', -8.64e15],
    ['of 1970', 0],
    ['that is over', Date.now()],
  ])('refuses a date %s, at which no job can run', (_what, ms) => {
    const make = () => park({ reason: 'x', neededUsd: '1', until: new Date(ms) });
    expect(make).toThrow(/^park: until must be a Date in the future and before the year 9999/);
  });

  it.each(['', '-1', '1e3', 'NaN', '0.0000000001', '12345678901'])(
    'refuses %j, which is no amount',
    (neededUsd) => {
      expect(() => park({ reason: 'x', neededUsd })).toThrow(/decimal dollars/);
    },
  );
});

describe('Retry-After of a 429', () => {
  it.each([
    ['seconds', { headers: { 'retry-after': '30' } }, 30_000],
    ['a date', { headers: { 'retry-after': 'Tue, 24 Nov 2026 12:01:00 GMT' } }, 60_000],
    ['Headers', { headers: new Headers({ 'Retry-After': '5' }) }, 5_000],
    ["a response's headers", { response: { headers: new Headers({ 'retry-after': '7' }) } }, 7_000],
    ['a field', { retryAfter: 3 }, 3_000],
    ['more than an hour', { headers: { 'retry-after': '999999' } }, 3_600_000],
  ])('as %s snoozes for as long', (_what, fields, afterMs) => {
    const error = Object.assign(new Error('slow down'), { status: 429 }, fields);
    expect(thrown(error)).toMatchObject({
      toState: 'pending',
      countsAttempt: false,
      afterMs,
    });
  });

  it('that says nothing leaves it to the backoff', () => {
    const error = Object.assign(new Error('slow down'), { status: 429, headers: { a: 'b' } });
    expect(thrown(error)).toMatchObject({ toState: 'failed', countsAttempt: true });
  });
});

describe('an error', () => {
  it('of a wrong call is fatal: it would be as wrong the next time', () => {
    expect(thrown(new UsageError('no'))).toMatchObject({ toState: 'dead_letter' });
  });

  it('whose fields cannot be read is one like any other', () => {
    const hostile = Object.defineProperty(new Error('the words'), 'status', {
      get: () => {
        throw new Error('not for you');
      },
    });
    expect(thrown(hostile)).toMatchObject({ toState: 'failed', error: { message: 'the words' } });
  });

  it('that hands back, or cancels, says so in its class', () => {
    const of = (details: object) => new PurserError('x', 'the words', { details: { ...details } });
    expect(thrown(of({ class: 'hand_back' }))).toMatchObject({
      toState: 'pending',
      countsAttempt: false,
      detail: { reason: 'handed back: the words' },
    });
    expect(thrown(of({ class: 'cancel', by: 'ops', reason: 'why' }))).toMatchObject({
      toState: 'cancelled',
      detail: { by: 'ops', reason: 'why' },
    });
  });
});

describe('a snooze', () => {
  it('is for an hour at most', () => {
    const end = endOfReturn(snooze({ reason: 'x', afterMs: Infinity }), facts);
    expect(end.afterMs).toBe(3_600_000);
  });
});

it.each([
  ['snooze', () => snooze({ reason: 'x', afterMs: Number.NaN })],
  ['snooze', () => snooze({ reason: 'x', afterMs: -1 })],
  ['retry', () => retry({ reason: 'x', afterMs: Number.NaN })],
  ['retry', () => retry({ reason: 'x', afterMs: -1 })],
  ['park', () => park({ reason: 'x', neededUsd: '1', until: new Date('2030-13-01') })],
])('%s refuses a time that is none', (kind, make) => {
  expect(make).toThrow(new RegExp(`^${kind}: (afterMs|until) must be`));
});

it.each([
  ['retry', () => retry(Object.assign({ reason: 'x' }, { afterms: 5 }))],
  ['snooze', () => snooze(Object.assign({ reason: 'x', afterMs: 5 }, { until: new Date() }))],
  ['park', () => park(Object.assign({ reason: 'x', neededUsd: '1' }, { afterMs: 5 }))],
  ['cancel', () => cancel(Object.assign({ reason: 'x' }, { by: 'me' }))],
])('%s refuses an option that it would ignore', (kind, make) => {
  expect(make).toThrow(new RegExp(`^${kind} has no option "\\w+"; it has reason`));
});

describe('the end of an attempt whose executor was killed', () => {
  const late = new JobTimeoutError('report', 1_000);
  const jobType = { type: 'report', ...handler };
  const endOf = (
    kill: Partial<Kill>,
    abortReason: unknown,
    ranLast?: boolean,
    isolatedCrashes = 0,
    hasEnded = false,
  ) =>
    endAfterKill(
      {
        attempt: { ...attempt, isolatedCrashes },
        // The function reads only these.
        facts: jobType as Parameters<typeof endAfterKill>[0]['facts'],
        abortReason,
        ranLast,
        hasEnded,
      },
      { how: 'killed', text: 'blocked', alone: false, ...kill },
      now,
    );

  it('is uncounted when other jobs ran there too, late or not', () => {
    for (const reason of [late, undefined]) {
      expect(endOf({}, reason, false)).toMatchObject({ toState: 'pending', countsAttempt: false });
    }
  });

  it('blames no job whose handler had returned, unless code that it left behind ran last', () => {
    expect(endOf({}, late, true, 0, true)).toMatchObject({ suspect: true, countsAttempt: false });
    const alone = endOf({ alone: true }, late, true, 0, true);
    expect(alone).toMatchObject({ error: { code: 'job_timeout' }, countsAttempt: true });
    for (const ranLast of [false, undefined]) {
      const end = endOf({}, undefined, ranLast, 0, true);
      expect(end).toMatchObject({ toState: 'pending', countsAttempt: false });
      expect([end.suspect, end.lost]).toEqual([undefined, undefined]);
    }
  });

  it('makes a suspect of the job that ran last, and of every job where that is not known', () => {
    expect(endOf({}, late, true)).toMatchObject({ suspect: true });
    expect(endOf({}, late, false)).toMatchObject({ lost: 'shared' });
    expect(endOf({}, late)).toMatchObject({ suspect: true });
  });

  it('is a failure for the abort reason when the job ran alone', () => {
    const end = endOf({ alone: true }, late);
    expect(end).toMatchObject({ toState: 'failed', error: { code: 'job_timeout' }, suspect: true });
  });

  it('is the cancellation that an operator asked for, whatever else happened', () => {
    const cancelled = new PurserError('job_cancelled', 'x', {
      details: { class: 'cancel', by: 'ops', reason: 'why' },
    });
    for (const alone of [true, false]) {
      expect(endOf({ alone }, cancelled)).toMatchObject({ toState: 'cancelled' });
    }
  });

  it('counts a crash of its own process, and is a dead letter the third time', () => {
    const crashed = { how: 'process', alone: true } as const;
    expect(endOf(crashed, undefined, undefined, 1)).toMatchObject({
      toState: 'pending',
      lost: 'isolated',
      countsAttempt: false,
    });
    expect(endOf(crashed, undefined, undefined, 2)).toMatchObject({
      toState: 'dead_letter',
      error: { code: 'worker_lost' },
    });
  });

  it('blames no job when the executor was retired', () => {
    const end = endOf({ how: 'retired', alone: true }, undefined);
    expect(end).toMatchObject({ toState: 'pending', countsAttempt: false });
    expect(end).not.toHaveProperty('suspect');
  });
});
