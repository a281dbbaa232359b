/** Offsets of an IANA zone from UTC, and the instants at which they change. Milliseconds since 1970. */

export interface Transition {
  /** The first instant with the new offset. */
  readonly at: number;
  readonly before: number;
  readonly after: number;
}

const dayMs = 86_400_000;
/** No zone has changed twice within so short a time. */
const stepMs = 10 * dayMs;
/** By `zone year`. */
const found = new Map<string, readonly Transition[]>();
const formats = new Map<string, Intl.DateTimeFormat>();
const mostKept = 10_000;

/** What the clocks of the zone show at an instant, minus UTC. Throws a RangeError for an unknown zone. */
export function offsetAt(zone: string, at: number): number {
  if (zone === 'UTC') return 0;
  let format = formats.get(zone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    formats.set(zone, format);
  }
  const part: Record<string, number> = {};
  for (const { type, value } of format.formatToParts(at)) part[type] = Number(value);
  const { year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0 } = part;
  return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(at / 1_000) * 1_000;
}

/** The last change at or before `at`; undefined when there is none in that year or the one before. */
export function lastTransition(zone: string, at: number): Transition | undefined {
  const year = new Date(at).getUTCFullYear();
  return [...transitionsOf(zone, year - 1), ...transitionsOf(zone, year)].findLast(
    (transition) => transition.at <= at,
  );
}

/** The first change after `at`, or the end of the next year, where it is looked for again. */
export function nextTransition(zone: string, at: number): number {
  const year = new Date(at).getUTCFullYear();
  const next = [...transitionsOf(zone, year), ...transitionsOf(zone, year + 1)].find(
    (transition) => transition.at > at,
  );
  return next?.at ?? Date.UTC(year + 2, 0, 1);
}

function transitionsOf(zone: string, year: number): readonly Transition[] {
  if (zone === 'UTC') return [];
  const key = `${zone} ${year}`;
  const known = found.get(key);
  if (known !== undefined) return known;
  const transitions: Transition[] = [];
  const end = Date.UTC(year + 1, 0, 1);
  for (let from = Date.UTC(year, 0, 1); from < end; from += stepMs) {
    const to = Math.min(from + stepMs, end);
    // The last instant before each step: a change on the border belongs to the step that begins with it.
    const [before, after] = [offsetAt(zone, from - 1_000), offsetAt(zone, to - 1_000)];
    if (before === after) continue;
    let [low, high] = [from / 1_000 - 1, to / 1_000 - 1];
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (offsetAt(zone, middle * 1_000) === before) low = middle;
      else high = middle;
    }
    transitions.push({ at: high * 1_000, before, after });
  }
  if (found.size >= mostKept) found.clear();
  found.set(key, transitions);
  return transitions;
}
