/** `purser limits set|clear|list`: how many jobs of a tenant, of a type, or of a tenant in a type may be in flight. */
import { exitCodes, UsageError } from '../../errors.ts';
import {
  clearJobLimit,
  listJobLimits,
  setJobLimit,
} from '../../jobs/limits/job-limits.ts';
import type { LimitTarget } from '../../jobs/limits/job-limits.ts';
import { withDatabase } from '../runtime/with-database.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { byName, byOption } from '../terminal/operator-options.ts';
import { formatTable } from '../terminal/table.ts';

const most = 1_000_000;

function targetOf(invocation: Invocation): LimitTarget {
  const tenantId = invocation.value('tenant');
  const jobType = invocation.value('type');
  if (tenantId === undefined && jobType === undefined) {
    throw new UsageError('name what is limited: --tenant T, --type TYPE, or both');
  }
  if (tenantId === '') throw new UsageError('--tenant must name a tenant');
  if (jobType === '') throw new UsageError('--type must name a job type');
  return { tenantId, jobType };
}

const titleOf = ({ tenantId, jobType }: LimitTarget): string =>
  [
    jobType === undefined ? 'jobs' : `jobs of type ${jobType}`,
    ...(tenantId === undefined ? [] : [`of tenant ${tenantId}`]),
  ].join(' ');

function mostRunning(invocation: Invocation): number {
  const text = invocation.value('running');
  if (text === undefined) throw new UsageError('say how many may be in flight: --running N');
  if (!/^\d{1,7}$/.test(text) || Number(text) > most) {
    throw new UsageError(`--running must be a whole number from 0 to ${most}`);
  }
  return Number(text);
}

async function set(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  const maxRunning = mostRunning(invocation);
  const by = byName(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    await setJobLimit(database.system, target, { maxRunning, by });
    if (invocation.flag('json')) invocation.print(JSON.stringify({ ...target, maxRunning, by }));
    else {
      invocation.print(
        `at most ${maxRunning} ${titleOf(target)} are queued or run at once; jobs that are queued or run already count, and go on`,
      );
    }
    return exitCodes.ok;
  });
}

async function clear(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const cleared = await clearJobLimit(database.system, target);
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
    const limits = await listJobLimits(database.system);
    if (invocation.flag('json')) invocation.print(JSON.stringify(limits));
    else if (limits.length === 0) invocation.print('nothing is limited');
    else {
      invocation.print(
        formatTable(
          ['tenant', 'job type', 'at most', 'in flight', 'since', 'by'],
          limits.map(({ tenantId, jobType, maxRunning, inFlight, by, at }) => [
            tenantId ?? '(all)',
            jobType ?? '(all)',
            maxRunning,
            inFlight,
            at,
            by,
          ]),
        ),
      );
    }
    return exitCodes.ok;
  });
}

const targets = {
  tenant: { value: 'T', help: 'jobs of this tenant' },
  type: { value: 'TYPE', help: 'jobs of this type' },
};

export const limitCommands: readonly Command[] = [
  {
    path: 'limits set',
    summary:
      'limit how many jobs of a tenant, of a type, or of a tenant in a type are queued or run at once',
    options: {
      ...targets,
      running: { value: 'N', help: 'jobs at once, 0 for none' },
      by: byOption,
      json: jsonOption,
    },
    run: set,
  },
  {
    path: 'limits clear',
    summary: 'remove a limit',
    options: { ...targets, json: jsonOption },
    run: clear,
  },
  {
    path: 'limits list',
    summary: 'list limits with the jobs that count for them now',
    options: { json: jsonOption },
    run: list,
  },
];
