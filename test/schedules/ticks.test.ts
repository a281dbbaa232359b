/** The ticks of an expression are the same from wherever one asks, and follow the clocks of their zone. */
import { describe, expect, it } from 'vitest';
import { parseExpression } from '../../src/schedules/expression.ts';
import { comingTicks, shortestInterval, tickWindow } from '../../src/schedules/ticks.ts';
import { ticksAround } from './ticks-around.ts';

const at = (text: string) => new Date(text);

it.each([
  ['on the tick', '2026-03-01T12:00:00.000Z', '12:00', '13:00'],
  ['a moment before', '2026-03-01T11:59:59.999Z', '11:00', '12:00'],
  ['a moment after', '2026-03-01T12:00:00.001Z', '12:00', '13:00'],
  ['just inside the second', '2026-03-01T12:00:00.999Z', '12:00', '13:00'],
])('%s', (_what, now, current, next) => {
  expect(ticksAround('0 * * * *', 'UTC', at(now))).toEqual({
    current: at(`2026-03-01T${current}:00Z`),
    next: at(`2026-03-01T${next}:00Z`),
  });
});

it('follow daylight saving time of their zone', () => {
  // New York, 8 March 2026: 02:00 EST (07:00Z) becomes 03:00 EDT; noon moves from 17:00Z to 16:00Z.
  expect(ticksAround('0 12 * * *', 'America/New_York', at('2026-03-08T00:00:00Z'))).toEqual({
    current: at('2026-03-07T17:00:00Z'),
    next: at('2026-03-08T16:00:00Z'),
  });
});

describe('where the clocks change', () => {
  const newYork = 'America/New_York';
  const from = (cron: string, start: string, count: number, zone = newYork) =>
    comingTicks(cron, zone, at(start), count).map((tick) => tick.toISOString().slice(5, 16));

  it('a tick in the hour that is left out comes an hour later, once', () => {
    expect(from('30 2 * * *', '2026-03-07T12:00:00Z', 2)).toEqual(['03-08T07:30', '03-09T06:30']);
    expect(from('0 2 * * *', '2026-03-07T12:00:00Z', 2)).toEqual(['03-08T07:00', '03-09T06:00']);
  });

  it('a tick in the repeated hour comes the first time only', () => {
    expect(from('30 1 * * *', '2026-10-31T12:00:00Z', 2)).toEqual(['11-01T05:30', '11-02T06:30']);
  });

  it('every half hour stays every half hour, forward and back', () => {
    const forward = ['03-08T06:30', '03-08T07:00', '03-08T07:30', '03-08T08:00'];
    expect(from('*/30 * * * *', '2026-03-08T06:00:00Z', 4)).toEqual(forward);
    const back = ['11-01T05:30', '11-01T06:00', '11-01T06:30', '11-01T07:00'];
    expect(from('*/30 * * * *', '2026-11-01T05:00:00Z', 4)).toEqual(back);
    expect(from('@hourly', '2026-11-01T05:00:00Z', 2)).toEqual(['11-01T06:00', '11-01T07:00']);
  });

  it('a day without a midnight begins an hour later', () => {
    expect(from('0 0 * * *', '2018-11-03T12:00:00Z', 2, 'America/Sao_Paulo')).toEqual([
      '11-04T03:00',
      '11-05T02:00',
    ]);
  });

  it.each([
    [newYork, '2026-03-08'],
    [newYork, '2026-11-01'],
    ['Europe/Berlin', '2026-10-25'],
    ['Australia/Lord_Howe', '2026-04-04'],
    ['America/Sao_Paulo', '2018-02-18'],
  ])('the ticks of %s around %s do not depend on the time of the question', (zone, day) => {
    const [start, end] = [-24, 48].map((hours) => at(day).getTime() + hours * 3_600_000);
    for (const cron of ['*/30 * * * *', '30 2 * * *', '30 1 * * *']) {
      const expression = parseExpression(cron, zone);
      const all = [expression.next(start ?? 0) ?? 0];
      while ((all.at(-1) ?? 0) < (end ?? 0)) all.push(expression.next(all.at(-1) ?? 0) ?? 0);
      for (let now = (all[0] ?? 0) + 7_001; now < (all.at(-2) ?? 0); now += 4_100_000) {
        const [asked, past] = [expression.next(now), expression.past(now, 1)];
        expect([cron, asked, past]).toEqual([
          cron,
          all.find((tick) => tick > now),
          [all.findLast((tick) => tick <= now)],
        ]);
      }
    }
  });
});

describe('a window', () => {
  it('is the same whatever was asked before', () => {
    const zone = 'America/New_York';
    const first = at('2026-03-07T00:00:00Z').getTime();
    const fresh = parseExpression('*/30 * * * *', zone);
    let seed = 1;
    for (let step = 0; step < 120; step += 1) {
      seed = (seed * 48_271) % 2_147_483_647;
      // Over the change to daylight saving time, on a tick now and then, forth and back.
      const minute = step % 2 === 0 ? seed % (4 * 24 * 60) : 30 * (seed % 192);
      if (step % 2 === 1)
        ticksAround('*/30 * * * *', zone, new Date(first + minute * 60_000 - 1_000));
      const now = new Date(first + minute * 60_000);
      const since = new Date(now.getTime() - (step % 7) * 1_700_000);
      const { ticks, past } = tickWindow('*/30 * * * *', zone, now, since, 5);
      const expected = fresh.past(now.getTime(), past);
      expect([now, ticks.slice(0, past).map(Number)]).toEqual([now, expected]);
      expect(Number(ticks[past])).toBe(fresh.next(now.getTime()));
      expect(ticks).toHaveLength(past + 2);
      expect((ticks[0] ?? now) <= since || past === 5).toBe(true);
    }
  });

  it('goes back to the oldest tick that is asked for, and no further than `most`', () => {
    const now = at('2026-03-01T12:30:00Z');
    const hours = (since: string, most: number) =>
      tickWindow('0 * * * *', 'UTC', now, at(since), most).ticks.map((tick) => tick.getUTCHours());
    expect(hours('2026-03-01T09:00:00Z', 100)).toEqual([9, 10, 11, 12, 13, 14]);
    expect(hours('2026-03-01T09:00:00Z', 3)).toEqual([10, 11, 12, 13, 14]);
    expect(hours('2026-03-01T12:10:00Z', 100)).toEqual([11, 12, 13, 14]);
  });
});

it('the shortest interval is that of working hours, not of nights', () => {
  expect(shortestInterval('0 9-17 * * 1-5', 'UTC', at('2026-03-06T16:30:00Z'))).toBe(3_600);
});

it.each([
  ['61 * * * *', 'UTC'],
  ['0 * * * *', 'Mars/Base'],
  ['0 0 30 2 *', 'UTC'],
])('the expression %s in %s is refused by name', (cron, zone) => {
  expect(() => ticksAround(cron, zone, new Date())).toThrow(
    `cannot use the cron expression "${cron}" in zone "${zone}"`,
  );
});
