/** `purser dlq groups`: failures by cause, the largest group first. */
import { exitCodes } from '../../../errors.ts';
import { listFailureGroups } from '../../../jobs/failures/groups.ts';
import type { FailureGroup } from '../../../jobs/failures/groups.ts';
import { notePart, searchOf, searchOptions } from '../../reports/search-options.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { jsonOption } from '../../terminal/command.ts';
import { limitOf, limitOption } from '../../terminal/cut-list.ts';
import { formatTable } from '../../terminal/table.ts';

const maxMessageWidth = 80;

/** How the jobs of the group ended, e.g. `3 fatal, 12 exhausted`; what is left was tried again. */
function endsOf({ fatal, exhausted, expired, count }: FailureGroup): string {
  const retried = count - fatal - exhausted - expired;
  const parts = [
    [fatal, 'fatal'],
    [exhausted, 'exhausted'],
    [expired, 'expired'],
    [retried, 'retried'],
  ] as const;
  return parts
    .filter(([number]) => number > 0)
    .map(([number, word]) => `${number} ${word}`)
    .join(', ');
}

/** Of the last hour, against the hour before. */
function trendOf({ lastHour, hourBefore }: FailureGroup): string {
  const arrow = lastHour > hourBefore ? 'up' : lastHour < hourBefore ? 'down' : 'same';
  return `${arrow} ${hourBefore} > ${lastHour}`;
}

async function groups(invocation: Invocation): Promise<number> {
  const limit = limitOf(invocation);
  const over = invocation.flag('attempts') ? 'attempts' : 'dead_letters';
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    const filter = await searchOf(invocation, sql);
    const found = await listFailureGroups(sql, over, { ...filter, limit });
    if (invocation.flag('json')) invocation.print(JSON.stringify(found));
    else {
      invocation.print(
        formatTable(
          [
            'fingerprint',
            'count',
            'tenants',
            'type',
            'code',
            'ended',
            'hour',
            'first',
            'last',
            'message',
          ],
          found.groups.map((group) => [
            group.fingerprint,
            group.count,
            group.tenants,
            group.jobType,
            group.errorCode,
            endsOf(group),
            trendOf(group),
            group.firstSeen,
            group.lastSeen,
            group.message,
          ]),
          maxMessageWidth,
        ),
      );
    }
    notePart(invocation, found.groups.length, found.total, 'groups');
    if (found.cutAt !== undefined) {
      invocation.note(
        `only the newest ${found.cutAt.toLocaleString('en-US')} failures were looked at; fewer with --since or --type`,
      );
    }
    return exitCodes.ok;
  });
}

export const groupsCommand: Command = {
  path: 'dlq groups',
  summary:
    'list dead letters by cause: how many, of how many tenants, since when, and whether they become more',
  options: {
    ...searchOptions,
    attempts: {
      help: 'every failed attempt (of the last 24 hours without --since), not dead letters alone',
    },
    limit: limitOption,
    json: jsonOption,
  },
  run: groups,
};
