/**
 * Which tick is due: cron expressions are computed in code, once per distinct (expression, zone), and
 * passed to SQL. A tick is its due instant in UTC, before splay.
 */
import { Cron } from 'croner';
import { PurserError } from '../errors.ts';

export interface Ticks {
  /** The newest due instant at or before now. */
  readonly current: Date;
  /** The first due instant after now. */
  readonly next: Date;
}

/** Throws `invalid_cron` naming the expression and zone. */
export function ticksAround(cron: string, zone: string, now: Date): Ticks {
  try {
    const expression = new Cron(cron, { timezone: zone, paused: true });
    // previousRuns looks strictly before its instant; a second on, so that "now" itself counts.
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
