/** `purser dlq list`: dead letters of a filter, and how many there are. */
import { exitCodes } from '../../../errors.ts';
import { countDeadLetters, listDeadLetters } from '../../../jobs/dead-letters.ts';
import { notePart, searchOf, searchOptions } from '../../reports/search-options.ts';
import { jobColumns } from '../../reports/list-columns.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { jsonOption } from '../../terminal/command.ts';
import { limitOf, limitOption } from '../../terminal/cut-list.ts';
import { formatTable } from '../../terminal/table.ts';

const maxMessageWidth = 80;

async function list(invocation: Invocation): Promise<number> {
  const limit = limitOf(invocation);
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    const filter = await searchOf(invocation, sql);
    const letters = await listDeadLetters(sql, { ...filter, limit });
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
          maxMessageWidth,
        ),
      );
    }
    const isCut = letters.length === limit;
    const count = isCut ? await countDeadLetters(sql, filter) : letters.length;
    notePart(invocation, letters.length, count, 'dead letters');
    return exitCodes.ok;
  });
}

export const listCommand: Command = {
  path: 'dlq list',
  summary: 'list dead letters that were neither replayed nor discarded, newest first',
  options: { ...searchOptions, limit: limitOption, json: jsonOption },
  run: list,
};
