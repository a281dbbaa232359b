/** `purser tokens add|list|remove`: tokens of programs. A token is printed once, when it is added, and stored hashed. */
import { exitCodes, UsageError } from '../../../errors.ts';
import {
  addToken,
  listTokens,
  maxTokenDays,
  removeToken,
} from '../../../operations/operators/tokens.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { jsonOption } from '../../terminal/command.ts';
import { formatTable } from '../../terminal/table.ts';
import { timeOption } from '../../terminal/time-option.ts';
import { newName, roleFrom, roleOption } from './new-name.ts';
import { actOf, actOptions } from '../../terminal/operator-options.ts';

const dayMs = 86_400_000;

/** `90d`, or a date or time. Throws a usage error for anything else, for the past, and for more than a year ahead. */
function expiryOf(invocation: Invocation): Date {
  const days = /^(\d{1,4})d$/.exec(invocation.required('expires'))?.[1];
  const at =
    days === undefined
      ? timeOption(invocation, 'expires')
      : new Date(Date.now() + Number(days) * dayMs);
  const aheadMs = (at?.getTime() ?? 0) - Date.now();
  if (at === undefined || aheadMs <= 0 || aheadMs > maxTokenDays * dayMs) {
    throw new UsageError(
      `--expires must be in the future and at most ${maxTokenDays} days ahead, e.g. 90d`,
    );
  }
  return at;
}

async function add(invocation: Invocation): Promise<number> {
  const name = newName(invocation.positionals[0] ?? '');
  const role = roleFrom(invocation);
  const expiresAt = expiryOf(invocation);
  const { operator, reason } = actOf(invocation);
  const [tenants, jobTypes] = [invocation.values('tenant'), invocation.values('type')];
  return withDatabase(invocation.config(), async ({ database }) => {
    const added = { name, role, tenants, jobTypes, expiresAt };
    const token = await database.system.begin((tx) => addToken(tx, operator, { ...added, reason }));
    if (invocation.flag('json')) invocation.print(JSON.stringify({ ...added, token }));
    else {
      invocation.note(
        `token ${name} added with the role ${role}, until ${expiresAt.toISOString()}; it is shown only now:`,
      );
      invocation.print(token);
    }
    return exitCodes.ok;
  });
}

async function list(invocation: Invocation): Promise<number> {
  return withDatabase(invocation.config(), async ({ database }) => {
    const tokens = await listTokens(database.system);
    if (invocation.flag('json')) invocation.print(JSON.stringify(tokens));
    else if (tokens.length === 0) invocation.print('no token');
    else {
      invocation.print(
        formatTable(
          ['name', 'role', 'tenants', 'types', 'added', 'last used', 'expires'],
          tokens.map((each) => [
            each.name,
            each.role,
            each.tenants.join(', ') || 'all',
            each.jobTypes.join(', ') || 'all',
            each.createdAt,
            each.lastUsedAt,
            each.expiresAt,
          ]),
        ),
      );
    }
    return exitCodes.ok;
  });
}

async function remove(invocation: Invocation): Promise<number> {
  const [name = ''] = invocation.positionals;
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    await database.system.begin((tx) => removeToken(tx, operator, { name, reason }));
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify({ name, removed: true })
        : `token ${name} removed; its programs are refused from now on`,
    );
    return exitCodes.ok;
  });
}

const positional = {
  name: 'NAME',
  help: 'the name that its acts are recorded with',
  required: true,
};

export const tokenCommands: readonly Command[] = [
  {
    path: 'tokens add',
    summary: 'make a token for a program that calls the API; it is printed once',
    positionals: [positional],
    options: {
      role: roleOption,
      expires: {
        value: 'T',
        help: `when it ends: days such as 90d, or a date; at most ${maxTokenDays} days ahead`,
        required: true,
      },
      tenant: { value: 'T', help: 'limit it to this tenant; may be repeated', repeats: true },
      type: { value: 'TYPE', help: 'limit it to this job type; may be repeated', repeats: true },
      ...actOptions,
      json: jsonOption,
    },
    run: add,
  },
  {
    path: 'tokens list',
    summary: 'list tokens with role, limits, last use and expiry; never the tokens',
    options: { json: jsonOption },
    run: list,
  },
  {
    path: 'tokens remove',
    summary: 'remove a token; its programs are refused at once',
    positionals: [positional],
    options: { ...actOptions, json: jsonOption },
    run: remove,
  },
];
