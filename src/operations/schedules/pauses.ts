/** An operator's pauses of schedules. */
import type { Sql, Tx } from '../../db/connect.ts';
import {
  lockSchedules,
  pauseCohortSchedules,
  pauseTenantSchedule,
  resumeCohortSchedules,
  resumeTenantSchedule,
} from '../../schedules/pauses.ts';
import { performAct } from '../audit.ts';
import type { Operator } from '../audit.ts';
import {
  assertTarget,
  findCohortSchedules,
  findTenantSchedule,
  namesOf,
  noSchedule,
} from './target.ts';
import type { ScheduleTarget } from './target.ts';

/** A pause of what is paused replaces it. Throws `unknown_job_type`, `unknown_tenant` and `unknown_schedule`. */
export async function pauseScheduleAs(
  sql: Sql | Tx,
  operator: Operator,
  { target, reason }: { readonly target: ScheduleTarget; readonly reason: string },
): Promise<void> {
  return performAct(sql, operator, async (tx) => {
    const { jobType, cohort, tenantId } = target;
    const record = { by: operator.name, reason };
    const before = await lockSchedules(tx, target);
    const paused =
      tenantId === undefined
        ? (await pauseCohortSchedules(tx, { jobType, cohort }, record)).length
        : Number(await pauseTenantSchedule(tx, { jobType, tenantId }, record));
    if (paused === 0) {
      await assertTarget(tx, target);
      throw noSchedule(target);
    }
    const change = { affected: paused, before, after: await lockSchedules(tx, target) };
    return {
      result: undefined,
      act: { act: 'schedule_pause', ...namesOf(target), reason, ...change },
    };
  });
}

/** Returns whether anything was paused; else it is no act. Throws as `pauseScheduleAs`. */
export async function resumeScheduleAs(
  sql: Sql | Tx,
  operator: Operator,
  { target, reason }: { readonly target: ScheduleTarget; readonly reason?: string | undefined },
): Promise<boolean> {
  return performAct(sql, operator, async (tx) => {
    const before = await lockSchedules(tx, target);
    const resumed = await endPauses(tx, target);
    if (resumed === 0) return { result: false };
    const change = { affected: resumed, before, after: await lockSchedules(tx, target) };
    return {
      result: true,
      act: { act: 'schedule_resume', ...namesOf(target), reason, ...change },
    };
  });
}

async function endPauses(tx: Tx, target: ScheduleTarget): Promise<number> {
  const { jobType, cohort, tenantId } = target;
  if (tenantId === undefined) {
    await findCohortSchedules(tx, target);
    return (await resumeCohortSchedules(tx, { jobType, cohort })).length;
  }
  await findTenantSchedule(tx, target);
  return Number(await resumeTenantSchedule(tx, { jobType, tenantId }));
}
