/**
 * A cron expression in a zone. croner computes it on the clock of the wall, as if that were UTC, because its own ticks
 * of other zones depend, near a change of the clocks, on the time from which one asks. When the clocks go forward, a
 * tick in the hour that is left out comes after it, as late as the clocks were moved. When they go back, a tick in the
 * repeated hour comes once, the first time; with `*` for the hour, both times. `?` means `*`.
 */
import { Cron } from 'croner';
import { lastTransition, nextTransition, offsetAt } from './zone-offsets.ts';

export interface Expression {
  /** The first tick after an instant; undefined when none comes. */
  readonly next: (after: number) => number | undefined;
  /** The newest `count` ticks at or before an instant, in order; fewer where there are none. */
  readonly past: (until: number, count: number) => readonly number[];
}

/** Throws croner's error for an invalid expression, and a RangeError for an unknown zone. */
export function parseExpression(cron: string, zone: string): Expression {
  const pattern = fieldsOf(cron).map((field) => (field === '?' ? '*' : field));
  // n/m means every m from n on, as in other schedulers.
  const options = { timezone: 'UTC', paused: true, sloppyRanges: true };
  const wall = new Cron(pattern.join(' '), options);
  offsetAt(zone, 0);
  const isEveryHour = hourField(cron) === '*';
  const nextWall = (after: number): number =>
    wall.nextRun(new Date(after))?.getTime() ?? Number.POSITIVE_INFINITY;

  const next = (after: number): number | undefined => {
    for (let from = after; ;) {
      const offset = offsetAt(zone, from + 1);
      const change = lastTransition(zone, from + 1);
      const forwardMs = change === undefined ? 0 : change.after - change.before;
      let wallFrom = from + offset;
      if (change !== undefined && forwardMs < 0 && !isEveryHour) {
        wallFrom = Math.max(wallFrom, change.at + change.before - 1);
      }
      let tick = nextWall(wallFrom) - offset;
      if (change !== undefined && !isEveryHour && from < change.at + forwardMs) {
        // The hour that was left out, moved behind it.
        const leftOut = Math.max(from, change.at - 1) + change.before;
        const moved = nextWall(leftOut) - change.before;
        if (moved < change.at + forwardMs) tick = Math.min(tick, moved);
      }
      const end = nextTransition(zone, from + 1);
      if (tick < end) return tick;
      if (tick === Number.POSITIVE_INFINITY) return undefined;
      from = end - 1;
    }
  };

  const past = (until: number, count: number): readonly number[] => {
    const offset = offsetAt(zone, until);
    for (let walls = count + 1; ; walls *= 2) {
      // previousRuns excludes its argument, and counts in seconds.
      const before = new Date(until + offset + 1_000);
      const runs = wall.previousRuns(walls, before).map((run) => run.getTime() - offset);
      const oldest = runs.at(-1);
      if (oldest === undefined) return [];
      if ((lastTransition(zone, until + oneDayMs)?.at ?? 0) < oldest - oneDayMs) {
        return runs.slice(0, count).toReversed();
      }
      const ticks: number[] = [];
      let tick = next(oldest - oneDayMs);
      while (tick !== undefined && tick <= until) {
        ticks.push(tick);
        tick = next(tick);
      }
      if (ticks.length >= count || runs.length < walls) return ticks.slice(-count);
    }
  };
  return { next, past };
}

const oneDayMs = 86_400_000;

const nicknames: Readonly<Record<string, string>> = { '@hourly': '*' };

const fieldsOf = (cron: string): string[] => cron.trim().split(/\s+/);

/** The hour's part of an expression, with or without seconds. */
function hourField(cron: string): string {
  const fields = fieldsOf(cron);
  const [first = ''] = fields;
  return nicknames[first.toLowerCase()] ?? fields[fields.length >= 6 ? 2 : 1] ?? '';
}
