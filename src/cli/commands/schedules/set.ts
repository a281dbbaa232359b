/** `purser schedules set`: the schedule of a cohort, or what differs from it for one tenant. */
import { exitCodes, UsageError } from '../../../errors.ts';
import {
  defaultMissedMost,
  largestMissedMost,
  missedPolicies,
  timingFault,
} from '../../../schedules/define.ts';
import type { ScheduleTiming } from '../../../schedules/define.ts';
import {
  listCohortSchedules,
  listTenantSchedules,
  setCohortSchedule,
  setOverride,
} from '../../../schedules/settings.ts';
import type { Override } from '../../../schedules/settings.ts';
import type { Queryable } from '../../../db/connect.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import { jsonOption } from '../../terminal/command.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { wholeNumber } from '../../terminal/parse.ts';
import { describeTiming } from './timing.ts';
import {
  assertTarget,
  cohortOption,
  targetOf,
  targetPositional,
  tenantOption,
  titleOf,
} from './target.ts';
import type { ScheduleTarget } from './target.ts';

const daySeconds = 86_400;

type Changes = { [K in keyof ScheduleTiming]?: ScheduleTiming[K] };

/** Throws a usage error for a value that no schedule can have. */
function changesOf(invocation: Invocation): Changes {
  const [cron, zone, policy] = ['cron', 'zone', 'missed'].map((name) => invocation.value(name));
  const missed = missedPolicies.find((name) => name === policy);
  if (policy !== undefined && missed === undefined) {
    throw new UsageError(`--missed must be one of ${missedPolicies.join(', ')}`);
  }
  const splay = wholeNumber(invocation, 'splay', -1, { min: 0, max: 366 * daySeconds });
  const most = wholeNumber(invocation, 'most', -1, { min: 1, max: largestMissedMost });
  return {
    ...(cron === undefined ? {} : { cron }),
    ...(zone === undefined ? {} : { zone }),
    ...(missed === undefined ? {} : { missed }),
    ...(splay === -1 ? {} : { splaySeconds: splay }),
    ...(most === -1 ? {} : { missedMost: most }),
  };
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
  sql: Queryable,
  target: ScheduleTarget,
  changes: Changes,
): Promise<readonly [ScheduleTiming, string]> {
  const { jobType, cohort } = target;
  if (cohort === null) throw new UsageError('name whom it is for: --cohort C or --tenant T');
  const [before] = await listCohortSchedules(sql, jobType, cohort);
  const { cron, zone, splaySeconds, missed, missedMost } = checked(target, {
    ...before,
    ...changes,
  });
  const timing = { cron, zone, splaySeconds, missed, missedMost };
  const added = await setCohortSchedule(sql, { jobType, cohort, ...timing });
  return [timing, added ? 'added' : 'changed'];
}

const noOverride: Override = {
  cron: null,
  zone: null,
  splaySeconds: null,
  missed: null,
  missedMost: null,
};

const effective = (override: Override, base: Partial<ScheduleTiming>): Partial<ScheduleTiming> => ({
  ...base,
  ...Object.fromEntries(Object.entries(override).filter(([, value]) => value !== null)),
});

async function setForTenant(
  sql: Queryable,
  target: ScheduleTarget & { readonly tenantId: string },
  changes: Changes,
  clears: boolean,
): Promise<readonly [Partial<ScheduleTiming> | undefined, string]> {
  const { jobType, tenantId } = target;
  const [before] = await listTenantSchedules(sql, tenantId, jobType);
  const override = { ...(clears ? noOverride : (before?.override ?? noOverride)), ...changes };
  const [base] = before === undefined ? [] : await listCohortSchedules(sql, jobType, before.cohort);
  const timing = effective(override, base ?? {});
  const { cron, zone, splaySeconds, missed, missedMost } = timing;
  if (!clears || cron !== undefined) checked(target, { ...timing });
  await setOverride(sql, { jobType, tenantId }, override);
  const said = clears ? 'follows its cohort again' : 'differs from its cohort';
  return [
    cron === undefined
      ? undefined
      : { ...timingDefaults, ...definedOnly({ zone, splaySeconds, missed, missedMost }), cron },
    said,
  ];
}

const definedOnly = (values: object): object =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));

async function set(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  const changes = changesOf(invocation);
  const clears = invocation.flag('clear');
  if (clears && target.tenantId === undefined) {
    throw new UsageError('--clear removes what differs for one tenant: name it with --tenant T');
  }
  if (clears === Object.keys(changes).length > 0) {
    throw new UsageError(
      clears
        ? '--clear goes with no other change; set the override anew without it'
        : 'nothing to set: give --cron, --zone, --splay, --missed or --most, or --clear for a tenant',
    );
  }
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    await assertTarget(sql, target);
    const { tenantId } = target;
    const [timing, said] =
      tenantId === undefined
        ? await setForCohort(sql, target, changes)
        : await setForTenant(sql, { ...target, tenantId }, changes, clears);
    if (invocation.flag('json')) {
      invocation.print(JSON.stringify({ ...target, tenantId: tenantId ?? null, ...timing }));
    } else {
      const now = timing === undefined ? 'its cohort has no schedule' : describeTiming(timing);
      invocation.print(`${titleOf(target)} ${said}: ${now}`);
      invocation.note(
        'after a change of cron or zone the next run is the first tick that is half an interval after the last run',
      );
    }
    return exitCodes.ok;
  });
}

export const setCommand: Command = {
  path: 'schedules set',
  summary: 'set the schedule of a cohort, or what differs from it for one tenant',
  positionals: [targetPositional],
  options: {
    cohort: cohortOption,
    tenant: tenantOption,
    cron: { value: 'CRON', help: 'five fields, e.g. "0 */3 * * *"; six with seconds first' },
    zone: { value: 'ZONE', help: 'IANA zone of the expression, e.g. Europe/Berlin (default UTC)' },
    splay: {
      value: 'S',
      help: 'spread the tenants over so many seconds; smaller than the interval (default 0)',
    },
    missed: {
      value: 'P',
      help: 'ticks that no scheduler claimed in time: skip (no job), once (one for the newest; default), all (one each)',
    },
    most: { value: 'N', help: 'with --missed all: the newest N only (default 24)' },
    clear: { help: 'with --tenant: remove what differs from the cohort' },
    json: jsonOption,
  },
  run: set,
};
