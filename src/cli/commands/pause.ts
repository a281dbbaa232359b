/** `purser pause|resume|pauses`: stops and resumes the dispatch of jobs of a type, of a tenant, or of all jobs. */
import type { Config } from '../../config.ts';
import { loginFaultText } from '../../connection-faults.ts';
import { exitCodes, messageOf, PurserError, UsageError } from '../../errors.ts';
import { listPauses } from '../../jobs/pauses.ts';
import type { Pause, PauseTarget } from '../../jobs/pauses.ts';
import { pauseAs, resumeAs } from '../../operations/pauses.ts';
import { createLogger, redactUrls } from '../../log.ts';
import { liftQueueStops } from '../../queues/stops.ts';
import type { QueueStop } from '../../queues/stops.ts';
import { queueVariable } from '../runtime/database-options.ts';
import { openQueues } from '../runtime/services.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import {
  actOf,
  actOptions,
  byOption,
  reasonOption,
  reasonedActOf,
} from '../terminal/operator-options.ts';
import { listOptions, printList } from '../terminal/cut-list.ts';
import { pauseTitle, resumeCommand } from '../reports/pauses.ts';
import { withDatabase } from '../runtime/with-database.ts';
import type { CommandServices } from '../runtime/with-database.ts';

const connectWithinMs = 3_000;

/** Throws a usage error unless exactly one target is named. */
export function targetOf(invocation: Invocation): PauseTarget {
  const jobType = invocation.value('type');
  const tenantId = invocation.value('tenant');
  const all = invocation.flag('all');
  if ([jobType !== undefined, tenantId !== undefined, all].filter(Boolean).length !== 1) {
    throw new UsageError('name one target: --type TYPE, --tenant T or --all');
  }
  if (tenantId !== undefined) return { scope: 'tenant', name: tenantId };
  if (jobType === undefined) return { scope: 'all', name: '' };
  if (jobType === '') throw new UsageError('--type must name a job type');
  return { scope: 'job_type', name: jobType };
}

const describePause = ({ by, at, reason }: Pause): string =>
  `by ${by} since ${at.toISOString()}: ${reason}`;

async function pause(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  const { operator, reason } = reasonedActOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const { replaced, claimsDrained } = await pauseAs(database.system, operator, {
      ...target,
      reason,
    });
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
  const { operator, reason } = actOf(invocation);
  const config = invocation.config();
  return withDatabase(config, async ({ database, lifecycle }) => {
    const ended = await resumeAs(database.system, operator, { ...target, reason });
    const all = (await listPauses(database.system)).find(({ scope }) => scope === 'all');
    const lifted =
      target.scope === 'job_type' ? await liftStops(config, { database, lifecycle }, target) : [];
    if (invocation.flag('json')) {
      const answer = { ...target, ended: ended ?? null, allPausedBy: all ?? null, lifted };
      invocation.print(JSON.stringify(answer));
      return exitCodes.ok;
    }
    const title = pauseTitle(target);
    invocation.print(
      ended === undefined
        ? `${title} was not paused`
        : `${title} is resumed; it was paused ${describePause(ended)}`,
    );
    for (const { seen } of lifted) invocation.print(`its queue had a stop, now removed: ${seen}`);
    if (all !== undefined) invocation.print(`everything is still paused, ${describePause(all)}`);
    return exitCodes.ok;
  });
}

/** Throws `queue_damaged` where a command cannot mend the queue; the pause is removed before. */
async function liftStops(
  config: Config,
  { database, lifecycle }: CommandServices,
  { name }: PauseTarget,
): Promise<readonly QueueStop[]> {
  const log = createLogger({ level: 'silent', role: 'cli' });
  const queues = openQueues(config, lifecycle, { database, workers: 0, name: 'cli', log });
  try {
    await queues.backend.ready(connectWithinMs);
    return await liftQueueStops(queues, name);
  } catch (error) {
    if (error instanceof PurserError) throw error;
    throw new PurserError(
      'queue_not_read',
      `no pause of ${name} is left, but its queue could not be read (${queueVariable(config)}: ${loginFaultText(error) ?? redactUrls(messageOf(error))}); ` +
        'run the command again when the queue store answers',
      { exitCode: exitCodes.unavailable, cause: error },
    );
  }
}

async function list(invocation: Invocation): Promise<number> {
  return withDatabase(invocation.config(), async ({ database }) => {
    const pauses = await listPauses(database.system);
    printList(invocation, pauses, {
      what: 'pauses',
      empty: 'nothing is paused',
      head: ['paused', 'since', 'by', 'reason'],
      cells: (row) => [
        row.stops ? `${pauseTitle(row)}, stopped` : pauseTitle(row),
        row.at,
        row.by,
        row.reason,
      ],
      maxWidth: 120,
    });
    return exitCodes.ok;
  });
}

export const targets = {
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
    summary:
      'remove one pause; others stay. With --type also what stops the queue of the type in the queue store',
    options: { ...targets, ...actOptions, json: jsonOption },
    run: resume,
  },
  {
    path: 'pauses',
    summary: 'list pauses with time, operator and reason',
    options: listOptions,
    run: list,
  },
];
