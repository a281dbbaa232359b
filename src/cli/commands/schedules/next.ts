/** `purser schedules next`: the coming runs of a cohort, or of a tenant with its splay, in UTC and on the zone's clocks. */
import { exitCodes } from '../../../errors.ts';
import type { Queryable } from '../../../db/connect.ts';
import {
  findCohortSchedules,
  findTenantSchedule,
  noSchedule,
} from '../../../operations/schedules/target.ts';
import type { ScheduleTarget } from '../../../operations/schedules/target.ts';
import { comingTicks, shortestInterval } from '../../../schedules/ticks.ts';
import { splayOf } from '../../../schedules/settings.ts';
import { offsetAt } from '../../../schedules/zone-offsets.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import { jsonOption } from '../../terminal/command.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { wholeNumber } from '../../terminal/parse.ts';
import { formatTable } from '../../terminal/table.ts';
import { cohortOption, targetOf, targetPositional, tenantOption } from './target.ts';

interface ComingRun {
  readonly cohort: string;
  readonly at: Date;
  /** On the clocks of the zone, with their offset. */
  readonly local: string;
  /** What is special about it: a change of the clocks before it, a first run. */
  readonly note: string;
}

interface Series {
  readonly cohort: string;
  readonly zone: string;
  readonly runs: readonly Date[];
  /** Of the first one. */
  readonly note: string;
}

const hourMs = 3_600_000;

/** How the clocks were changed between two runs. */
function clockNote(zone: string, before: Date | undefined, at: Date): string {
  if (before === undefined) return '';
  const changeMs = offsetAt(zone, at.getTime()) - offsetAt(zone, before.getTime());
  if (changeMs === 0) return '';
  const hours = Math.abs(changeMs) / hourMs;
  return `the clocks go ${changeMs > 0 ? 'forward' : 'back'} by ${hours} h before it`;
}

function localText(zone: string, at: Date): string {
  const offsetMs = offsetAt(zone, at.getTime());
  const wall = new Date(at.getTime() + offsetMs).toISOString().slice(0, 19).replace('T', ' ');
  const minutes = Math.round(Math.abs(offsetMs) / 60_000);
  const [hour, minute] = [Math.floor(minutes / 60), minutes % 60].map((n) =>
    String(n).padStart(2, '0'),
  );
  return `${wall} ${offsetMs < 0 ? '-' : '+'}${hour}:${minute}`;
}

async function seriesOfTenant(
  sql: Queryable,
  target: ScheduleTarget,
  now: Date,
  count: number,
): Promise<Series> {
  const found = await findTenantSchedule(sql, target);
  const { cron, zone, cohort, pausedBy, lastBucket, nextBucket, nextDue } = found;
  if (cron === null) throw noSchedule({ ...target, tenantId: undefined, cohort });
  const shortest = shortestInterval(cron, zone, now);
  const splay = await splayOf(sql, target.tenantId ?? '', found.splaySeconds, shortest);
  // The tick of now may still be to come, because of the splay.
  const from = new Date(Math.max(now.getTime() - splay * 1_000, (nextBucket?.getTime() ?? 0) - 1));
  const ticks = comingTicks(cron, zone, from, count);
  const runs = ticks.map((tick) => new Date(tick.getTime() + splay * 1_000));
  const paused = pausedBy === null ? '' : `paused, by the ${pausedBy}'s pause`;
  if (lastBucket !== null) return { cohort, zone, runs, note: paused };
  const first = nextDue > now ? nextDue : now;
  return {
    cohort,
    zone,
    runs: [first, ...runs.filter((run) => run > first)].slice(0, count),
    note: paused || 'it has never run: due at once, without a splay',
  };
}

async function seriesOfCohorts(
  sql: Queryable,
  target: ScheduleTarget,
  now: Date,
  count: number,
): Promise<Series[]> {
  const schedules = await findCohortSchedules(sql, target);
  return schedules.map(({ cohort, cron, zone, enabled, splaySeconds }) => ({
    cohort,
    zone,
    runs: comingTicks(cron, zone, now, count),
    note: enabled
      ? splaySeconds === 0
        ? ''
        : `each tenant up to ${splaySeconds} s later`
      : 'paused',
  }));
}

const runsOf = ({ cohort, zone, runs, note }: Series): ComingRun[] =>
  runs.map((at, index) => ({
    cohort,
    at,
    local: localText(zone, at),
    note: [index === 0 ? note : '', clockNote(zone, runs[index - 1], at)]
      .filter(Boolean)
      .join('; '),
  }));

async function next(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  const count = wholeNumber(invocation, 'count', 5, { min: 1, max: 100 });
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    const now = new Date();
    const all =
      target.tenantId === undefined
        ? await seriesOfCohorts(sql, target, now, count)
        : [await seriesOfTenant(sql, target, now, count)];
    if (invocation.flag('json')) {
      const answer = all.flatMap((series) =>
        runsOf(series).map((run) => ({ ...run, zone: series.zone })),
      );
      invocation.print(JSON.stringify(answer));
      return exitCodes.ok;
    }
    invocation.print(
      formatTable(
        ['cohort', 'UTC', 'zone', 'on its clocks', ''],
        all.flatMap((series) =>
          runsOf(series).map(({ cohort, at, local, note }) => [
            cohort,
            at,
            series.zone,
            local,
            note,
          ]),
        ),
        100,
      ),
    );
    return exitCodes.ok;
  });
}

export const nextCommand: Command = {
  path: 'schedules next',
  summary: 'print the coming runs of a schedule in UTC and in its zone, with changes of the clocks',
  positionals: [targetPositional],
  options: {
    cohort: cohortOption,
    tenant: tenantOption,
    count: { value: 'N', help: 'how many (default 5, at most 100)' },
    json: jsonOption,
  },
  run: next,
};
