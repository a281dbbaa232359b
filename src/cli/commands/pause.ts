/** `purser pause|resume|pauses`: stops and resumes the dispatch of jobs of a type, of a tenant, or of all jobs. */
import { exitCodes, UsageError } from '../../errors.ts';
import { listPauses, pauseWork, resumeWork } from '../../jobs/pauses.ts';
import type { Pause, PauseTarget } from '../../jobs/pauses.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { byOption, operatorRecord, reasonOption } from '../terminal/operator-options.ts';
import { pauseTitle, resumeCommand } from '../reports/pauses.ts';
import { formatTable } from '../terminal/table.ts';
import { checkTenantId } from './tenants.ts';
import { withDatabase } from '../runtime/with-database.ts';

/** Throws a usage error unless exactly one target is named. */
function targetOf(invocation: Invocation): PauseTarget {
  const jobType = invocation.value('type');
  const tenantId = invocation.value('tenant');
  const all = invocation.flag('all');
  if ([jobType !== undefined, tenantId !== undefined, all].filter(Boolean).length !== 1) {
    throw new UsageError('name one target: --type TYPE, --tenant T or --all');
  }
  if (tenantId !== undefined) return { scope: 'tenant', name: checkTenantId(tenantId) };
  if (jobType === undefined) return { scope: 'all', name: '' };
  if (jobType === '') throw new UsageError('--type must name a job type');
  return { scope: 'job_type', name: jobType };
}

const describePause = ({ by, at, reason }: Pause): string =>
  `by ${by} since ${at.toISOString()}: ${reason}`;

async function pause(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  const record = operatorRecord(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const { replaced, claimsDrained } = await pauseWork(database.system, { ...target, ...record });
    const title = pauseTitle(target);
    if (invocation.flag('json')) {
      invocation.print(JSON.stringify({ ...target, replaced: replaced ?? null, claimsDrained }));
    } else {
      invocation.print(
        `${title} is paused; jobs already in a queue still run; to resume: ${resumeCommand(target)}`,
      );
      if (replaced !== undefined) {
        invocation.print(`this replaces the pause ${describePause(replaced)}`);
      }
    }
    if (!claimsDrained) {
      invocation.note(
        'a dispatch that began before the pause is still running; it may add a few more jobs to the queues',
      );
    }
    return exitCodes.ok;
  });
}

async function resume(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const ended = await resumeWork(database.system, target);
    const all = (await listPauses(database.system)).find(({ scope }) => scope === 'all');
    if (invocation.flag('json')) {
      invocation.print(
        JSON.stringify({ ...target, ended: ended ?? null, allPausedBy: all ?? null }),
      );
      return exitCodes.ok;
    }
    const title = pauseTitle(target);
    invocation.print(
      ended === undefined
        ? `${title} was not paused`
        : `${title} is resumed; it was paused ${describePause(ended)}`,
    );
    if (all !== undefined) invocation.print(`everything is still paused, ${describePause(all)}`);
    return exitCodes.ok;
  });
}

async function list(invocation: Invocation): Promise<number> {
  return withDatabase(invocation.config(), async ({ database }) => {
    const pauses = await listPauses(database.system);
    if (invocation.flag('json')) invocation.print(JSON.stringify(pauses));
    else if (pauses.length === 0) invocation.print('nothing is paused');
    else {
      invocation.print(
        formatTable(
          ['paused', 'since', 'by', 'reason'],
          pauses.map((row) => [pauseTitle(row), row.at, row.by, row.reason]),
          120,
        ),
      );
    }
    return exitCodes.ok;
  });
}

const targets = {
  type: { value: 'TYPE', help: 'jobs of this type' },
  tenant: { value: 'T', help: 'jobs of this tenant' },
  all: { help: 'every job' },
};

export const pauseCommands: readonly Command[] = [
  {
    path: 'pause',
    summary:
      'stop dispatching jobs of a type, of a tenant, or all jobs; queued and running jobs continue, and waiting jobs still expire after giveUpAfterMs',
    options: { ...targets, reason: reasonOption, by: byOption, json: jsonOption },
    run: pause,
  },
  {
    path: 'resume',
    summary: 'remove one pause; others stay',
    options: { ...targets, json: jsonOption },
    run: resume,
  },
  {
    path: 'pauses',
    summary: 'list pauses with time, operator and reason',
    options: { json: jsonOption },
    run: list,
  },
];
