/** The schedule of a cohort, or what differs from it for one tenant, set by an operator. */
import { Overtaken } from '../../db/connect.ts';
import type { Sql, Tx } from '../../db/connect.ts';
import { UsageError } from '../../errors.ts';
import { defaultMissedMost, timingFault } from '../../schedules/define.ts';
import type { ScheduleTiming } from '../../schedules/define.ts';
import {
  listCohortSchedules,
  listTenantSchedules,
  lockCohortSchedule,
  lockOverride,
  setCohortSchedule,
  setOverride,
} from '../../schedules/settings.ts';
import type { Override } from '../../schedules/settings.ts';
import { performAct } from '../audit.ts';
import type { Operator, Performed } from '../audit.ts';
import { assertTarget, namesOf, titleOf } from './target.ts';
import type { ScheduleTarget } from './target.ts';

export type ScheduleChanges = { [K in keyof ScheduleTiming]?: ScheduleTiming[K] };

export interface SetSchedule {
  readonly outcome: 'added' | 'changed' | 'overridden' | 'cleared';
  /** In force then; undefined: the tenant follows a cohort without a schedule. */
  readonly timing: ScheduleTiming | undefined;
}

export interface SetScheduleRequest {
  readonly target: ScheduleTarget;
  readonly changes: ScheduleChanges;
  /** Removes what differs for the tenant. */
  readonly clears: boolean;
  readonly reason?: string | undefined;
}

/** The same timing again is no act. Throws `unknown_job_type`, `unknown_tenant`, and a usage error for a timing that cannot work. */
export async function setScheduleAs(
  sql: Sql | Tx,
  operator: Operator,
  request: SetScheduleRequest,
): Promise<SetSchedule> {
  return performAct(sql, operator, async (tx) => {
    const { target, reason } = request;
    await assertTarget(tx, target);
    const { result, act } =
      target.tenantId === undefined
        ? await setForCohort(tx, request)
        : await setForTenant(tx, request, target.tenantId);
    return { result, act: act === undefined ? undefined : { ...act, ...namesOf(target), reason } };
  });
}

const timingDefaults = {
  zone: 'UTC',
  splaySeconds: 0,
  missed: 'once',
  missedMost: defaultMissedMost,
} as const;

/** Throws a usage error for a timing that cannot work. */
function checked(target: ScheduleTarget, given: Partial<ScheduleTiming>): ScheduleTiming {
  const { cron } = given;
  if (cron === undefined) {
    throw new UsageError(
      `${titleOf(target)} is new and needs --cron, e.g. --cron "0 */3 * * *" for every three hours`,
    );
  }
  const timing = { ...timingDefaults, ...given, cron };
  const fault = timingFault(timing, new Date());
  if (fault !== undefined) throw new UsageError(fault);
  return timing;
}

async function setForCohort(
  tx: Tx,
  { target, changes }: SetScheduleRequest,
): Promise<Performed<SetSchedule>> {
  const { jobType, cohort } = target;
  if (cohort === null) throw new UsageError('name whom it is for: --cohort C or --tenant T');
  const before = await lockCohortSchedule(tx, jobType, cohort);
  const timing = checked(target, { ...before, ...changes });
  const added = await setCohortSchedule(tx, { jobType, cohort, ...timing });
  if (before === undefined && !added) throw new Overtaken();
  return {
    result: { outcome: added ? 'added' : 'changed', timing },
    act: { act: 'schedule_set', before: before ?? null, after: timing },
  };
}

const noOverride: Override = {
  cron: null,
  zone: null,
  splaySeconds: null,
  missed: null,
  missedMost: null,
};

const definedOnly = (values: object): object =>
  Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== null && value !== undefined),
  );

async function setForTenant(
  tx: Tx,
  { target, changes, clears }: SetScheduleRequest,
  tenantId: string,
): Promise<Performed<SetSchedule>> {
  const { jobType } = target;
  const before = await lockOverride(tx, jobType, tenantId);
  const override = { ...(clears ? noOverride : (before ?? noOverride)), ...changes };
  const [known] = await listTenantSchedules(tx, tenantId, jobType);
  const [base] = known === undefined ? [] : await listCohortSchedules(tx, jobType, known.cohort);
  const given: Partial<ScheduleTiming> = { ...timingOf(base), ...definedOnly(override) };
  const timing = clears && given.cron === undefined ? undefined : checked(target, given);
  const added = await setOverride(tx, { jobType, tenantId }, override);
  if (before === undefined && !added) throw new Overtaken();
  return {
    result: { outcome: clears ? 'cleared' : 'overridden', timing },
    act: { act: 'schedule_set', before: before ?? null, after: override },
  };
}

function timingOf(base: ScheduleTiming | undefined): Partial<ScheduleTiming> {
  if (base === undefined) return {};
  const { cron, zone, splaySeconds, missed, missedMost } = base;
  return { cron, zone, splaySeconds, missed, missedMost };
}
