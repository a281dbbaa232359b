/** `purser dlq list|groups|show|preview|replay|edit|discard|batches`: dead letters. */
import { exitCodes, UsageError } from '../../errors.ts';
import { batchActs } from '../../operations/batches/filter.ts';
import { discardAs, replayAs } from '../../operations/dead-letters.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { batchCommands } from './dlq/batches.ts';
import { editCommand } from './dlq/edit.ts';
import {
  filterOptions,
  isFiltered,
  previewOnly,
  runFiltered,
  startOptions,
} from './dlq/filtered.ts';
import { groupsCommand } from './dlq/groups.ts';
import { listCommand } from './dlq/list.ts';
import { showCommand } from './dlq/show.ts';
import { checkJobId } from './jobs.ts';
import {
  actOf,
  actOptions,
  byOption,
  reasonOption,
  reasonedActOf,
} from '../terminal/operator-options.ts';
import { withDatabase } from '../runtime/with-database.ts';

async function replay(invocation: Invocation): Promise<number> {
  if (isFiltered(invocation)) return runFiltered(invocation, 'replay');
  const jobId = checkJobId(invocation.positionals[0] ?? '');
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const made = await replayAs(database.system, operator, { jobId, reason });
    if (invocation.flag('json')) invocation.print(JSON.stringify(made));
    else {
      invocation.print(
        made.created
          ? `job ${made.jobId} replays dead letter ${jobId}`
          : `dead letter ${jobId} was already replayed, by job ${made.jobId}`,
      );
    }
    return exitCodes.ok;
  });
}

async function discard(invocation: Invocation): Promise<number> {
  if (isFiltered(invocation)) return runFiltered(invocation, 'discard');
  const jobId = checkJobId(invocation.positionals[0] ?? '');
  const { operator, reason } = reasonedActOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    await discardAs(database.system, operator, { jobId, reason });
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify({ jobId, discarded: true })
        : `dead letter ${jobId} discarded`,
    );
    return exitCodes.ok;
  });
}

async function preview(invocation: Invocation): Promise<number> {
  const given = invocation.required('act');
  const act = batchActs.find((known) => known === given);
  if (act === undefined) throw new UsageError(`--act ${given}: use ${batchActs.join(', ')}`);
  return previewOnly(invocation, act);
}

const idPositional = {
  name: 'ID',
  help: "the dead letter's job id; without it, a filter or --batch",
  required: false,
};

export const dlqCommands: readonly Command[] = [
  listCommand,
  groupsCommand,
  showCommand,
  {
    path: 'dlq preview',
    summary:
      'take the jobs of a filter for a batch, and say whose they are, how old, what they can cost and which would wait; changes no job',
    options: {
      act: {
        value: 'ACT',
        help: 'replay, discard, or cancel (of jobs that have not ended)',
        required: true,
      },
      ...filterOptions,
      ...actOptions,
      json: jsonOption,
    },
    run: preview,
  },
  {
    path: 'dlq replay',
    summary:
      'run a dead letter or a cancelled job again as a new job, once; it stays on record. With a filter: all of them, after a preview',
    positionals: [idPositional],
    options: { ...filterOptions, ...startOptions, ...actOptions, json: jsonOption },
    run: replay,
  },
  editCommand,
  {
    path: 'dlq discard',
    summary:
      'remove a dead letter from the list, with a reason. With a filter: all of them, after a preview',
    positionals: [idPositional],
    options: {
      ...filterOptions,
      ...startOptions,
      reason: reasonOption,
      by: byOption,
      json: jsonOption,
    },
    run: discard,
  },
  ...batchCommands,
];
