/** The two ticks around an instant. */
import { tickWindow } from '../../src/schedules/ticks.ts';

export function ticksAround(cron: string, zone: string, now: Date): { current: Date; next: Date } {
  const { ticks, past } = tickWindow(cron, zone, now);
  const [current, next] = [ticks[past - 1], ticks[past]];
  if (current === undefined || next === undefined) throw new Error('a window has two ticks');
  return { current, next };
}
