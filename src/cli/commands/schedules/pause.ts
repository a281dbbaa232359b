/** `purser schedules pause|resume`: of a job type, of one of its cohorts, or of one tenant. */
import { exitCodes } from '../../../errors.ts';
import { pauseScheduleAs, resumeScheduleAs } from '../../../operations/schedules/pauses.ts';
import { findTenantSchedule, titleOf } from '../../../operations/schedules/target.ts';
import type { ScheduleTarget } from '../../../operations/schedules/target.ts';
import { quoted } from '../../../operations/shell-text.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import { jsonOption } from '../../terminal/command.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import {
  actOf,
  actOptions,
  byOption,
  reasonedActOf,
  reasonOption,
} from '../../terminal/operator-options.ts';
import { cohortOption, targetOf, targetPositional, tenantOption } from './target.ts';

function flagsOf({ cohort, tenantId }: ScheduleTarget): string {
  if (tenantId !== undefined) return ` --tenant=${quoted(tenantId)}`;
  return cohort === null ? '' : ` --cohort ${cohort}`;
}

async function pause(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  const { operator, reason } = reasonedActOf(invocation);
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    const { jobType, tenantId } = target;
    await pauseScheduleAs(sql, operator, { target, reason });
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

async function resume(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    const ended = await resumeScheduleAs(sql, operator, { target, reason });
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
    options: { ...targets, ...actOptions, json: jsonOption },
    run: resume,
  },
];
