/**
 * `purser operators add|list|set-role|set-password|remove`: the named operators of the web role. A password is read from
 * stdin, a hidden prompt or a file, never from the command line.
 */
import { exitCodes, UsageError } from '../../../errors.ts';
import {
  addOperator,
  listOperators,
  removeOperator,
  setPassword,
  setRole,
} from '../../../operations/operators/operators.ts';
import { hashPassword } from '../../../operations/operators/passwords.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { jsonOption } from '../../terminal/command.ts';
import { readSecret } from '../../terminal/read-secret.ts';
import type { SecretInput } from '../../terminal/read-secret.ts';
import { formatTable } from '../../terminal/table.ts';
import { newName, roleFrom, roleOf, roleOption } from './new-name.ts';
import { actOf, actOptions } from '../../terminal/operator-options.ts';

const passwordInput: SecretInput = {
  what: 'the password',
  plural: false,
  option: 'password-file',
  maxBytes: 1_024,
  code: 'invalid_password',
  hidden: true,
};

const sessions = (ended: number): string =>
  ended === 1 ? '1 session was ended' : `${ended} sessions were ended`;

function answer(invocation: Invocation, json: object, text: string): number {
  invocation.print(invocation.flag('json') ? JSON.stringify(json) : text);
  return exitCodes.ok;
}

async function add(invocation: Invocation): Promise<number> {
  const name = newName(invocation.positionals[0] ?? '');
  const role = roleFrom(invocation);
  const { operator, reason } = actOf(invocation);
  const config = invocation.config();
  if (name === config.DASHBOARD_USER) {
    throw new UsageError(
      `${JSON.stringify(name)} is DASHBOARD_USER, whose password is DASHBOARD_PASSWORD; choose another name`,
    );
  }
  const passwordHash = await hashPassword(await readSecret(invocation, passwordInput));
  return withDatabase(config, async ({ database }) => {
    await database.system.begin((tx) =>
      addOperator(tx, operator, { name, role, passwordHash, reason }),
    );
    return answer(invocation, { name, role }, `operator ${name} added with the role ${role}`);
  });
}

async function list(invocation: Invocation): Promise<number> {
  return withDatabase(invocation.config(), async ({ database }) => {
    const operators = await listOperators(database.system);
    if (invocation.flag('json')) invocation.print(JSON.stringify(operators));
    else if (operators.length === 0) {
      invocation.print('no named operator; DASHBOARD_USER logs in as admin');
    } else {
      invocation.print(
        formatTable(
          ['name', 'role', 'sessions', 'last seen', 'added'],
          operators.map((each) => [
            each.name,
            each.role,
            each.openSessions,
            each.seenAt,
            each.createdAt,
          ]),
        ),
      );
    }
    return exitCodes.ok;
  });
}

async function changeRole(invocation: Invocation): Promise<number> {
  const [name = '', word = ''] = invocation.positionals;
  const role = roleOf(word);
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const ended = await database.system.begin((tx) =>
      setRole(tx, operator, { name, role, reason }),
    );
    return answer(
      invocation,
      { name, role, endedSessions: ended },
      `operator ${name} has the role ${role}; ${sessions(ended)}`,
    );
  });
}

async function changePassword(invocation: Invocation): Promise<number> {
  const [name = ''] = invocation.positionals;
  const { operator, reason } = actOf(invocation);
  const config = invocation.config();
  const passwordHash = await hashPassword(await readSecret(invocation, passwordInput));
  return withDatabase(config, async ({ database }) => {
    const ended = await database.system.begin((tx) =>
      setPassword(tx, operator, { name, passwordHash, reason }),
    );
    return answer(
      invocation,
      { name, endedSessions: ended },
      `operator ${name} has a new password; ${sessions(ended)}`,
    );
  });
}

async function remove(invocation: Invocation): Promise<number> {
  const [name = ''] = invocation.positionals;
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const ended = await database.system.begin((tx) =>
      removeOperator(tx, operator, { name, reason }),
    );
    return answer(
      invocation,
      { name, removed: true, endedSessions: ended },
      `operator ${name} removed; ${sessions(ended)}`,
    );
  });
}

const positional = { name: 'NAME', help: 'the name that they log in with', required: true };
const passwordFile = { value: 'FILE', help: 'read the password from this file instead' };

export const operatorCommands: readonly Command[] = [
  {
    path: 'operators add',
    summary: 'add an operator of the web role; the password is read from stdin',
    positionals: [positional],
    options: { role: roleOption, 'password-file': passwordFile, ...actOptions, json: jsonOption },
    run: add,
  },
  {
    path: 'operators list',
    summary: 'list the named operators with their roles and open sessions',
    options: { json: jsonOption },
    run: list,
  },
  {
    path: 'operators set-role',
    summary: 'change the role of an operator, which ends their sessions',
    positionals: [positional, { name: 'ROLE', help: 'viewer, operator or admin', required: true }],
    options: { ...actOptions, json: jsonOption },
    run: changeRole,
  },
  {
    path: 'operators set-password',
    summary: 'change the password of an operator, which ends their sessions; it is read from stdin',
    positionals: [positional],
    options: { 'password-file': passwordFile, ...actOptions, json: jsonOption },
    run: changePassword,
  },
  {
    path: 'operators remove',
    summary: 'remove an operator and end their sessions',
    positionals: [positional],
    options: { ...actOptions, json: jsonOption },
    run: remove,
  },
];
