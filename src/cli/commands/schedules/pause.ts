/** `purser schedules pause|resume`: of a job type, of one of its cohorts, or of one tenant. */
import { exitCodes } from '../../../errors.ts';
import type { Queryable } from '../../../db/connect.ts';
import {
  pauseCohortSchedules,
  pauseTenantSchedule,
  resumeCohortSchedules,
  resumeTenantSchedule,
} from '../../../schedules/pauses.ts';
import { quoted } from '../../reports/pauses.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import { jsonOption } from '../../terminal/command.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { byOption, operatorRecord, reasonOption } from '../../terminal/operator-options.ts';
import {
  assertTarget,
  cohortOption,
  findCohortSchedules,
  findTenantSchedule,
  noSchedule,
  targetOf,
  targetPositional,
  tenantOption,
  titleOf,
} from './target.ts';
import type { ScheduleTarget } from './target.ts';

function flagsOf({ cohort, tenantId }: ScheduleTarget): string {
  if (tenantId !== undefined) return ` --tenant=${quoted(tenantId)}`;
  return cohort === null ? '' : ` --cohort ${cohort}`;
}

async function pause(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  const record = operatorRecord(invocation);
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    const { jobType, cohort, tenantId } = target;
    const isThere =
      tenantId === undefined
        ? (await pauseCohortSchedules(sql, { jobType, cohort }, record)).length > 0
        : await pauseTenantSchedule(sql, { jobType, tenantId }, record);
    if (!isThere) {
      await assertTarget(sql, target);
      throw noSchedule(target);
    }
    if (invocation.flag('json')) {
      invocation.print(JSON.stringify({ ...target, tenantId: tenantId ?? null, paused: true }));
    } else {
      invocation.print(
        `${titleOf(target)} is paused; jobs that it made still run; to resume: purser schedules resume ${jobType}${flagsOf(target)}`,
      );
    }
    return exitCodes.ok;
  });
}

/** Returns whether anything was paused. */
async function endPause(sql: Queryable, target: ScheduleTarget): Promise<boolean> {
  const { jobType, cohort, tenantId } = target;
  if (tenantId === undefined) {
    await findCohortSchedules(sql, target);
    return (await resumeCohortSchedules(sql, { jobType, cohort })).length > 0;
  }
  await findTenantSchedule(sql, target);
  return resumeTenantSchedule(sql, { jobType, tenantId });
}

async function resume(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    const ended = await endPause(sql, target);
    const left =
      target.tenantId === undefined ? null : (await findTenantSchedule(sql, target)).pausedBy;
    if (invocation.flag('json')) {
      const answer = { ...target, tenantId: target.tenantId ?? null, resumed: ended, left };
      invocation.print(JSON.stringify(answer));
      return exitCodes.ok;
    }
    invocation.print(
      ended
        ? `${titleOf(target)} is resumed with its next tick; those that passed are recorded as missed`
        : `${titleOf(target)} was not paused`,
    );
    if (left === 'cohort') {
      invocation.print(
        `the schedule of its cohort is still paused; to resume: purser schedules resume ${target.jobType}`,
      );
    }
    return exitCodes.ok;
  });
}

const targets = { cohort: cohortOption, tenant: tenantOption };

export const pauseCommands: readonly Command[] = [
  {
    path: 'schedules pause',
    summary: 'stop a schedule: of a job type, of one of its cohorts, or of one tenant',
    positionals: [targetPositional],
    options: { ...targets, reason: reasonOption, by: byOption, json: jsonOption },
    run: pause,
  },
  {
    path: 'schedules resume',
    summary: 'end a pause of a schedule; it goes on with its next tick',
    positionals: [targetPositional],
    options: { ...targets, json: jsonOption },
    run: resume,
  },
];
