/** Options that take a point in time. */
import { UsageError } from '../../errors.ts';
import type { Invocation } from './command.ts';

const pattern = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2}))?$/;

/**
 * The time that the option names, or undefined without it: a date (its start in UTC), or a date and time with its zone.
 * Throws a usage error for anything else, such as a local time.
 */
export function timeOption(invocation: Invocation, name: string): Date | undefined {
  const text = invocation.value(name);
  if (text === undefined) return undefined;
  const time = new Date(text);
  // JavaScript takes the 31st of February for the 3rd of March.
  const day = new Date(`${text.slice(0, 10)}T00:00:00Z`);
  const exists = !Number.isNaN(day.getTime()) && day.toISOString().startsWith(text.slice(0, 10));
  if (!pattern.test(text) || !exists || Number.isNaN(time.getTime()) || time.getTime() < 0) {
    throw new UsageError(
      `--${name} must be a date or a time with its zone, e.g. 2026-12-01 or 2026-12-01T08:00:00Z, not ${JSON.stringify(text.slice(0, 60))}`,
    );
  }
  return time;
}
