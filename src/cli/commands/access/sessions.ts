/** `purser operators sessions|end`: the open sessions of browsers, and their end. */
import { exitCodes, UsageError } from '../../../errors.ts';
import { endSessions, listSessions } from '../../../operations/operators/sessions.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { jsonOption } from '../../terminal/command.ts';
import { wholeNumber } from '../../terminal/parse.ts';
import { formatTable } from '../../terminal/table.ts';
import { actOf, actOptions } from '../../terminal/operator-options.ts';

async function list(invocation: Invocation): Promise<number> {
  const limit = wholeNumber(invocation, 'limit', 50, { min: 1, max: 10_000 });
  const operator = invocation.value('operator');
  return withDatabase(invocation.config(), async ({ database }) => {
    const found = await listSessions(database.system, { operator, limit: limit + 1 });
    const sessions = found.slice(0, limit);
    if (invocation.flag('json')) invocation.print(JSON.stringify(sessions));
    else if (sessions.length === 0) invocation.print('no open session');
    else {
      invocation.print(
        formatTable(
          ['id', 'operator', 'role', 'address', 'login', 'last seen', 'ends', 'browser'],
          sessions.map((each) => [
            each.id,
            each.operator,
            each.role,
            each.address,
            each.startedAt,
            each.seenAt,
            each.expiresAt,
            each.browser,
          ]),
          40,
        ),
      );
      if (found.length > limit) invocation.note(`the first ${limit}; more with --limit`);
    }
    return exitCodes.ok;
  });
}

async function end(invocation: Invocation): Promise<number> {
  const [id] = invocation.positionals;
  const name = invocation.value('operator');
  const { operator: by, reason } = actOf(invocation);
  const which = id === undefined ? undefined : { id };
  const ofOperator = name === undefined ? undefined : { operator: name };
  const chosen = which ?? ofOperator;
  if (chosen === undefined || (which !== undefined && ofOperator !== undefined)) {
    throw new UsageError('name one session by its id, or all of an operator with --operator NAME');
  }
  return withDatabase(invocation.config(), async ({ database }) => {
    const ended = await database.system.begin((tx) => endSessions(tx, by, { ...chosen, reason }));
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify({ ...chosen, ended })
        : `${ended} ${ended === 1 ? 'session' : 'sessions'} ended`,
    );
    return exitCodes.ok;
  });
}

export const sessionCommands: readonly Command[] = [
  {
    path: 'operators sessions',
    summary: 'list the open sessions of the web role, the one seen last first',
    options: {
      operator: { value: 'NAME', help: 'only of this operator' },
      limit: { value: 'N', help: 'number of sessions (default 50)' },
      json: jsonOption,
    },
    run: list,
  },
  {
    path: 'operators end',
    summary: 'end one session of the web role, or all of an operator',
    positionals: [{ name: 'SESSION', help: 'its id in the list', required: false }],
    options: {
      operator: { value: 'NAME', help: 'all sessions of this operator' },
      ...actOptions,
      json: jsonOption,
    },
    run: end,
  },
];
