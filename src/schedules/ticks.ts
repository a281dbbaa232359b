/**
 * Ticks of a cron expression. They are computed here, once per (expression, zone), and passed to SQL. A tick is
 * identified by the time at which it is due, in UTC and without the tenant's splay.
 */
import { messageOf, PurserError } from '../errors.ts';
import { parseExpression } from './expression.ts';
import type { Expression } from './expression.ts';

export interface TickWindow {
  /** In order: those that are not after now, and the two after them. */
  readonly ticks: readonly Date[];
  /** How many of them are not after now; at least 2. */
  readonly past: number;
  /** Between two ticks that come soon. */
  readonly shortestSeconds: number;
}

interface Computed {
  readonly expression: Expression;
  readonly shortestSeconds: number;
  /** In order: at least two that are not after the last claim, and two that are. */
  ticks: readonly number[];
}

/** By expression and zone. Nothing changes between two ticks, and croner takes a fifth of a millisecond for each. */
const computed = new Map<string, Computed>();
const mostComputed = 10_000;
const leastPast = 2;
/** Enough for the shortest interval within a day or a week of usual expressions. */
const sampled = 12;
/** What has passed since the last claim is advanced by so many ticks, and else computed anew. */
const mostAdvanced = 100;

/**
 * The ticks from the newest one at or before `since` on, but no more past ones than `most`. Throws `invalid_cron` naming
 * the expression and zone.
 */
export function tickWindow(
  cron: string,
  zone: string,
  now: Date,
  since: Date = now,
  most: number = leastPast,
): TickWindow {
  return orInvalid(cron, zone, () => {
    const known = advance(cron, zone, now.getTime());
    let past: readonly number[] = known.ticks.slice(0, -2);
    const coming = known.ticks.slice(-2);
    const wanted = Math.max(most, leastPast);
    const [first] = past;
    if (first !== undefined && first > since.getTime() && past.length < wanted) {
      past = backTo(known.expression, now.getTime(), since.getTime(), wanted);
      known.ticks = [...past, ...coming];
    }
    const needed = past.filter((tick) => tick > since.getTime()).length + 1;
    const sent = past.slice(-Math.max(leastPast, Math.min(needed, wanted)));
    return {
      ticks: [...sent, ...coming].map((tick) => new Date(tick)),
      past: sent.length,
      shortestSeconds: known.shortestSeconds,
    };
  });
}

/** The next ticks after `from`; fewer only where the expression ends. Throws `invalid_cron`. */
export function comingTicks(cron: string, zone: string, from: Date, count: number): Date[] {
  return orInvalid(cron, zone, () => {
    const coming = comingOf(parseExpression(cron, zone), from.getTime(), count);
    if (coming.length === 0) throw new Error(neverDue);
    return coming.map((tick) => new Date(tick));
  });
}

/** Seconds between the two nearest of the next `count` ticks. Throws `invalid_cron`. */
export function shortestInterval(cron: string, zone: string, from: Date, count = 200): number {
  return gapOf(comingTicks(cron, zone, from, count).map((tick) => tick.getTime()));
}

const neverDue = 'it never comes due';

function comingOf(expression: Expression, from: number, count: number): number[] {
  const coming: number[] = [];
  for (let tick = expression.next(from); tick !== undefined; tick = expression.next(tick)) {
    coming.push(tick);
    if (coming.length >= count) break;
  }
  return coming;
}

function gapOf(ticks: readonly number[]): number {
  const gaps = ticks.slice(1).map((tick, n) => tick - (ticks[n] ?? 0));
  return Math.floor(Math.min(...gaps) / 1_000);
}

/** What is known of an expression, so that exactly two of its ticks are after now. */
function advance(cron: string, zone: string, now: number): Computed {
  const key = `${cron}|${zone}`;
  const known = computed.get(key);
  if (known !== undefined && !isAfter(known.ticks[leastPast - 1], now)) {
    const ticks = [...known.ticks];
    while (isAfter(ticks.at(-3), now)) ticks.pop();
    for (let steps = 0; steps < mostAdvanced; steps += 1) {
      if (isAfter(ticks.at(-2), now)) {
        known.ticks = ticks.slice(-mostKept);
        return known;
      }
      const next = known.expression.next(ticks.at(-1) ?? now);
      if (next === undefined) throw new Error(neverDue);
      ticks.push(next);
    }
  }
  const fresh = computeAround(parseExpression(cron, zone), now);
  if (computed.size >= mostComputed) computed.clear();
  computed.set(key, fresh);
  return fresh;
}

const mostKept = 1_002;

const isAfter = (tick: number | undefined, now: number): boolean =>
  tick !== undefined && tick > now;

function computeAround(expression: Expression, now: number): Computed {
  const past = expression.past(now, leastPast);
  const coming = comingOf(expression, now, sampled);
  if (past.length < leastPast || coming.length < 2) throw new Error(neverDue);
  return {
    expression,
    shortestSeconds: gapOf([...past, ...coming]),
    ticks: [...past, ...coming.slice(0, 2)],
  };
}

/** Past ticks until one is at or before `since` or there are `most`. */
function backTo(
  expression: Expression,
  now: number,
  since: number,
  most: number,
): readonly number[] {
  for (let count = 8; ; count *= 4) {
    const past = expression.past(now, Math.min(count, most));
    if ((past[0] ?? since) <= since || past.length >= most || past.length < count) return past;
  }
}

function orInvalid<T>(cron: string, zone: string, compute: () => T): T {
  try {
    return compute();
  } catch (error) {
    throw new PurserError(
      'invalid_cron',
      `cannot use the cron expression ${JSON.stringify(cron)} in zone ${JSON.stringify(zone)} (${messageOf(error)}); ` +
        'five fields such as "0 */3 * * *" and an IANA zone such as "UTC" are expected',
      { cause: error },
    );
  }
}
