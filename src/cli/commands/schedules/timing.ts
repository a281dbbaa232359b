/** A schedule in words. */
import type { ScheduleTiming } from '../../../schedules/define.ts';

export const policyText = ({
  missed,
  missedMost,
}: Pick<ScheduleTiming, 'missed' | 'missedMost'>): string =>
  missed === 'all' ? `all, ${missedMost} at most` : missed;

export function describeTiming(timing: Partial<ScheduleTiming>): string {
  const { cron = '', zone = 'UTC', splaySeconds = 0, missed = 'once', missedMost = 24 } = timing;
  const splay = splaySeconds === 0 ? '' : `, splay ${splaySeconds} s`;
  return `${cron} in ${zone}${splay}, missed ticks: ${policyText({ missed, missedMost })}`;
}
