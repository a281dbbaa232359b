/** `purser dlq list|replay|discard`: dead letters. */
import { exitCodes } from '../../errors.ts';
import { discardDeadLetter, listDeadLetters, replayDeadLetter } from '../../jobs/dead-letters.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { jobColumns } from '../reports/list-columns.ts';
import { jobFilter, jobFilterOptions } from '../reports/job-filter.ts';
import { checkJobId } from './jobs.ts';
import { byName, byOption, operatorRecord, reasonOption } from '../terminal/operator-options.ts';
import { wholeNumber } from '../terminal/parse.ts';
import { formatTable } from '../terminal/table.ts';
import { withDatabase } from '../runtime/with-database.ts';

async function list(invocation: Invocation): Promise<number> {
  const limit = wholeNumber(invocation, 'limit', 50, { min: 1, max: 10_000 });
  return withDatabase(invocation.config(), async ({ database }) => {
    const letters = await listDeadLetters(database.system, {
      ...(await jobFilter(invocation, database.system)),
      limit,
    });
    if (invocation.flag('json')) invocation.print(JSON.stringify(letters));
    else {
      const columns = jobColumns(letters);
      invocation.print(
        formatTable(
          [...columns.head, 'attempts', 'finished', 'error', 'message'],
          letters.map((letter) => [
            ...columns.of(letter),
            letter.attempt,
            letter.finishedAt,
            letter.errorCode,
            letter.errorMessage,
          ]),
          80,
        ),
      );
    }
    return exitCodes.ok;
  });
}

async function replay(invocation: Invocation): Promise<number> {
  const jobId = checkJobId(invocation.positionals[0] ?? '');
  return withDatabase(invocation.config(), async ({ database }) => {
    const made = await replayDeadLetter(database.system, jobId, {
      operator: byName(invocation),
      source: 'cli',
    });
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
  const jobId = checkJobId(invocation.positionals[0] ?? '');
  const { reason, by: operator } = operatorRecord(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    await discardDeadLetter(database.system, jobId, { operator, source: 'cli', reason });
    invocation.print(`dead letter ${jobId} discarded`);
    return exitCodes.ok;
  });
}

const idPositional = { name: 'ID', help: "the dead letter's job id", required: true };

export const dlqCommands: readonly Command[] = [
  {
    path: 'dlq list',
    summary: 'list dead letters that were neither replayed nor discarded, newest first',
    options: {
      ...jobFilterOptions,
      limit: { value: 'N', help: 'at most N (default 50)' },
      json: jsonOption,
    },
    run: list,
  },
  {
    path: 'dlq replay',
    summary: 'run a dead letter again as a new job, once; the dead letter stays on record',
    positionals: [idPositional],
    options: { by: byOption, json: jsonOption },
    run: replay,
  },
  {
    path: 'dlq discard',
    summary: 'remove a dead letter from the list, with a reason',
    positionals: [idPositional],
    options: { reason: reasonOption, by: byOption },
    run: discard,
  },
];
