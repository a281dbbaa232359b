/** `purser pause|resume|pauses`: what dispatch hands nothing over of. */
import { exitCodes, UsageError } from '../../errors.ts';
import { listPauses, pauseWork, resumeWork } from '../../jobs/pauses.ts';
import type { Pause, PauseTarget } from '../../jobs/pauses.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { byOption, onRecord, reasonOption } from '../terminal/audit-options.ts';
import { pauseTitle, resumeCommand } from '../reports/pause-text.ts';
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
  const record = onRecord(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const { replaced, claimsDrained } = await pauseWork(database.system, { ...target, ...record });
    const title = pauseTitle(target);
    if (invocation.flag('json'))
      invocation.print(JSON.stringify({ ...target, replaced: replaced ?? null, claimsDrained }));
    else {
      invocation.print(
        `${title} is paused; jobs that a queue holds already still run; end it: ${resumeCommand(target)}`,
      );
      if (replaced !== undefined)
        invocation.print(`it was paused before, ${describePause(replaced)}`);
    }
    if (!claimsDrained) {
      invocation.note(
        'a dispatch from before is still under way; it may hand over a few jobs more',
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
        : `${title} goes on; it was paused ${describePause(ended)}`,
    );
    if (all !== undefined) invocation.print(`but everything is paused, ${describePause(all)}`);
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
      'dispatch no more jobs of a type, of a tenant, or at all; what is queued or running goes on, what waits still expires (giveUpAfter)',
    options: { ...targets, reason: reasonOption, by: byOption, json: jsonOption },
    run: pause,
  },
  {
    path: 'resume',
    summary: 'take a pause off; each target has its own',
    options: { ...targets, json: jsonOption },
    run: resume,
  },
  {
    path: 'pauses',
    summary: 'what is paused, since when, by whom and why',
    options: { json: jsonOption },
    run: list,
  },
];
