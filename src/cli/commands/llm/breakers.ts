/** `purser llm breakers`: lists the circuit breakers of LLM calls, and closes one by hand. */
import { exitCodes, PurserError } from '../../../errors.ts';
import { listBreakers } from '../../../llm/breaker/store.ts';
import type { Breaker } from '../../../llm/breaker/store.ts';
import { isStorable } from '../../../names.ts';
import { resetBreakerAs } from '../../../operations/money/calls.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { jsonOption } from '../../terminal/command.ts';
import { actOf, actOptions } from '../../terminal/operator-options.ts';
import { listOptions, printList } from '../../terminal/cut-list.ts';

async function list(invocation: Invocation): Promise<number> {
  return withDatabase(invocation.config(), async ({ database }) => {
    const found = await listBreakers(database.system);
    printList(invocation, found, {
      what: 'circuit breakers',
      empty: 'no circuit breaker has ever opened',
      head: ['breaker', 'state', 'since', 'until', 'opens', 'last error', 'by'],
      cells: cellsOf,
    });
    return exitCodes.ok;
  });
}

const cellsOf = ({ name, state, at, until, opens, lastError, by }: Breaker) => [
  name,
  state,
  at,
  until ?? '',
  opens,
  lastError,
  by,
];

async function reset(invocation: Invocation): Promise<number> {
  const name = invocation.positionals[0] ?? '';
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const before = isStorable(name)
      ? await resetBreakerAs(database.system, operator, { breaker: name, reason })
      : undefined;
    if (before === undefined) {
      throw new PurserError(
        'unknown_breaker',
        `there is no circuit breaker ${JSON.stringify(name.slice(0, 300))} that has ever opened; see: purser llm breakers`,
      );
    }
    if (invocation.flag('json'))
      invocation.print(JSON.stringify({ name, before, by: operator.name }));
    else {
      invocation.print(
        before === 'closed'
          ? `${name} was closed already`
          : `${name} is closed; workers call within a second, parked jobs wake in the next sweep`,
      );
    }
    return exitCodes.ok;
  });
}

export const breakerCommands: readonly Command[] = [
  {
    path: 'llm breakers',
    summary: 'list the circuit breakers of LLM calls that have opened: state, since, until, why',
    options: listOptions,
    run: list,
  },
  {
    path: 'llm breakers reset',
    summary: 'close a circuit breaker of LLM calls by hand',
    positionals: [
      {
        name: 'BREAKER',
        help: 'as listed, e.g. model:openai/gpt-4o or credential:openai/platform',
        required: true,
      },
    ],
    options: { ...actOptions, json: jsonOption },
    run: reset,
  },
];
