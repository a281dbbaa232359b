/**
 * Ticks of a cron expression. They are computed here, once per (expression, zone), and passed to SQL. A tick is
 * identified by the time at which it is due, in UTC and without the tenant's splay.
 */
import { Cron } from 'croner';
import { PurserError } from '../errors.ts';

export interface Ticks {
  /** The latest tick at or before now. */
  readonly current: Date;
  /** The first tick after now. */
  readonly next: Date;
}

/** By expression and zone. Nothing changes between two ticks, and to compute them is most of what an idle claim costs. */
const computed = new Map<string, Ticks>();
const mostComputed = 10_000;

/** Throws `invalid_cron` naming the expression and zone. */
export function ticksAround(cron: string, zone: string, now: Date): Ticks {
  const key = `${cron}|${zone}`;
  const known = computed.get(key);
  if (known !== undefined && known.current <= now && now < known.next) return known;
  const ticks = compute(cron, zone, now);
  if (computed.size >= mostComputed) computed.clear();
  computed.set(key, ticks);
  return ticks;
}

function compute(cron: string, zone: string, now: Date): Ticks {
  try {
    const expression = new Cron(cron, { timezone: zone, paused: true });
    // previousRuns excludes its argument; one second later, so that a tick at `now` is included.
    const [current] = expression.previousRuns(1, new Date(now.getTime() + 1_000));
    const next = expression.nextRun(now);
    if (current === undefined || next === null) throw new Error('it never comes due');
    return { current, next };
  } catch (error) {
    throw new PurserError(
      'invalid_cron',
      `cannot use the cron expression ${JSON.stringify(cron)} in zone ${JSON.stringify(zone)}; five fields such as "0 */3 * * *" and an IANA zone such as "UTC" are expected`,
      { cause: error },
    );
  }
}
