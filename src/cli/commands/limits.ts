/** `purser limits set|clear|list`: how many jobs of a tenant, type or group may be in flight, and start in each window. */
import { exitCodes, UsageError } from '../../errors.ts';
import { listJobLimits } from '../../jobs/limits/job-limits.ts';
import type { LimitTarget, LimitValues } from '../../jobs/limits/job-limits.ts';
import { listPlanLimits } from '../../jobs/limits/plan-limits.ts';
import { assertKnown } from '../../jobs/pauses.ts';
import { clearLimitAs, setLimitAs } from '../../operations/limits.ts';
import { withDatabase } from '../runtime/with-database.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { actOf, actOptions } from '../terminal/operator-options.ts';
import { listOptions, printList } from '../terminal/cut-list.ts';
import { cellsOfPlan, clearForPlan, setForPlan } from './plan-limits.ts';

const most = 1_000_000;
const mostStarts = 100_000;
/** 31 days. */
const longestWindowSeconds = 2_678_400;
const secondsOf: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

function targetOf(invocation: Invocation): LimitTarget {
  const tenantId = invocation.value('tenant');
  const jobType = invocation.value('type');
  const group = invocation.value('group');
  const eachTenant = invocation.flag('each-tenant');
  if (tenantId === undefined && jobType === undefined && group === undefined) {
    throw new UsageError(
      'name what is limited: --tenant T, --type TYPE, both, --group NAME, or --plan PLAN',
    );
  }
  if (tenantId === '') throw new UsageError('--tenant must name a tenant');
  if (jobType === '') throw new UsageError('--type must name a job type');
  if (group !== undefined && jobType !== undefined) {
    throw new UsageError('a group is limited over all job types: leave out --type');
  }
  if (eachTenant && (group === undefined || tenantId !== undefined)) {
    throw new UsageError('--each-tenant goes with --group, and without --tenant');
  }
  return { tenantId, jobType, group, eachTenant };
}

const titleOf = (
  { tenantId, jobType, group, eachTenant = false }: LimitTarget,
  most?: number,
): string =>
  [
    ...(most === undefined ? [] : [most]),
    most === 1 ? 'job' : 'jobs',
    ...(jobType === undefined ? [] : [`of type ${jobType}`]),
    ...(group === undefined
      ? []
      : [group.endsWith(':*') ? `of each group ${group}` : `of group ${group}`]),
    ...(tenantId === undefined ? [] : [`of tenant ${tenantId}`]),
    ...(eachTenant ? ['of each tenant'] : []),
  ].join(' ');

function count(invocation: Invocation, option: string, highest: number): number | undefined {
  const text = invocation.value(option);
  if (text === undefined) return undefined;
  if (!/^\d{1,7}$/.test(text) || Number(text) > highest) {
    throw new UsageError(`--${option} must be a whole number from 0 to ${highest}`);
  }
  return Number(text);
}

function windowSeconds(invocation: Invocation): number | undefined {
  const text = invocation.value('per');
  if (text === undefined) return undefined;
  const [, digits, unit = 's'] = /^(\d{1,7})([smhd])?$/.exec(text) ?? [];
  const seconds = Number(digits) * (secondsOf[unit] ?? 1);
  if (!(seconds >= 1 && seconds <= longestWindowSeconds)) {
    throw new UsageError('--per must be a time from 1s to 31d, such as 30s, 1m, 12h or 7d');
  }
  return seconds;
}

function valuesOf(invocation: Invocation): LimitValues {
  const values = {
    maxRunning: count(invocation, 'running', most),
    maxStarts: count(invocation, 'starts', mostStarts),
    perSeconds: windowSeconds(invocation),
  };
  if ((values.maxStarts === undefined) !== (values.perSeconds === undefined)) {
    throw new UsageError('--starts N and --per TIME go together');
  }
  if (values.maxRunning === undefined && values.maxStarts === undefined) {
    throw new UsageError('say what is allowed: --running N, --starts N --per TIME, or both');
  }
  return values;
}

function windowText({ perSeconds }: { perSeconds?: number | null | undefined }): string {
  const [unit = 's', length = 1] =
    Object.entries(secondsOf).findLast(([, seconds]) => Number(perSeconds) % seconds === 0) ?? [];
  return `${Number(perSeconds) / length}${unit}`;
}

async function set(invocation: Invocation): Promise<number> {
  const ofPlan = await setForPlan(invocation, () => valuesOf(invocation), windowText);
  if (ofPlan !== undefined) return ofPlan;
  const target = targetOf(invocation);
  const values = valuesOf(invocation);
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    await setLimitAs(database.system, operator, { target, values, reason });
    if (invocation.flag('json')) {
      invocation.print(JSON.stringify({ ...target, ...values, by: operator.name }));
    } else {
      const { maxRunning, maxStarts } = values;
      if (maxRunning !== undefined) {
        invocation.print(
          `at most ${titleOf(target, maxRunning)} at once, queued or running; those that are queued or run already count, and go on`,
        );
      }
      if (maxStarts !== undefined) {
        invocation.print(
          `at most ${titleOf(target, maxStarts)} in any ${windowText(values)}, by their starts; those that are queued already start beside them`,
        );
      }
    }
    return exitCodes.ok;
  });
}

async function clear(invocation: Invocation): Promise<number> {
  const ofPlan = await clearForPlan(invocation);
  if (ofPlan !== undefined) return ofPlan;
  const target = targetOf(invocation);
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const cleared = await clearLimitAs(database.system, operator, { target, reason });
    if (invocation.flag('json')) invocation.print(JSON.stringify({ ...target, cleared }));
    else {
      invocation.print(
        cleared
          ? `${titleOf(target)} have no limit of their own any more`
          : `${titleOf(target)} had no limit of their own`,
      );
    }
    return exitCodes.ok;
  });
}

async function list(invocation: Invocation): Promise<number> {
  return withDatabase(invocation.config(), async ({ database }) => {
    const tenantId = invocation.value('tenant');
    if (tenantId !== undefined) {
      await assertKnown(database.system, { scope: 'tenant', name: tenantId });
    }
    const limits = await listJobLimits(database.system, tenantId);
    const ofPlans = tenantId === undefined ? await listPlanLimits(database.system) : [];
    printList(invocation, [...limits, ...ofPlans], {
      what: 'limits',
      empty: 'nothing is limited',
      head: [
        'tenant',
        'job type',
        'group',
        'at once',
        'in flight',
        'starts',
        'started',
        'since',
        'by',
      ],
      cells: (limit) =>
        'plan' in limit
          ? cellsOfPlan(limit, windowText)
          : [
              limit.tenantId ?? (limit.eachTenant ? '(each)' : '(all)'),
              limit.jobType ?? '(all)',
              limit.group ?? '',
              limit.maxRunning ?? '',
              limit.inFlight ?? '',
              limit.maxStarts === null ? '' : `${limit.maxStarts} in ${windowText(limit)}`,
              limit.started ?? '',
              limit.at,
              limit.ofPlan ? `${limit.by} (plan)` : limit.by,
            ],
    });
    return exitCodes.ok;
  });
}

const targets = {
  tenant: { value: 'T', help: 'jobs of this tenant' },
  type: { value: 'TYPE', help: 'jobs of this type' },
  group: {
    value: 'NAME',
    help: 'jobs that name this group; kind:* for each group of a kind, such as user:*, that has no limit of its own',
  },
  'each-tenant': { help: 'with --group: each tenant by itself, not all together' },
};

const planTarget = {
  value: 'PLAN',
  help: 'starts of each tenant of this plan, with --type or of all types together',
};

export const limitCommands: readonly Command[] = [
  {
    path: 'limits set',
    summary:
      'limit how many jobs of a tenant, of a type, of a tenant in a type, or of a group are queued or run at once, or start in each window',
    options: {
      ...targets,
      plan: planTarget,
      running: { value: 'N', help: 'jobs at once, 0 for none' },
      starts: { value: 'N', help: 'starts in each window, 0 for none' },
      per: { value: 'TIME', help: 'the window, e.g. 30s, 1m, 12h or 7d' },
      ...actOptions,
      json: jsonOption,
    },
    run: set,
  },
  {
    path: 'limits clear',
    summary: 'remove a limit',
    options: { ...targets, plan: planTarget, ...actOptions, json: jsonOption },
    run: clear,
  },
  {
    path: 'limits list',
    summary: 'list limits with the jobs that count for them now',
    options: {
      tenant: { value: 'T', help: 'only those of this tenant, with what its plan limits' },
      ...listOptions,
    },
    run: list,
  },
];
