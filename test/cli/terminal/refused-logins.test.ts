/**
 * A login that a store refuses is not repeated in any output: with a slip in the URL its user, or its database, is a
 * piece of the password.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { runCli } from '../../support/process.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await freshDatabase();
});
afterAll(() => test.close());

const withLogin = (url: string, login: string): string => {
  const { host, pathname } = new URL(url);
  return `postgres://${login}@${host}${pathname}`;
};
const withDatabase = (url: string, name: string): string => {
  const changed = new URL(url);
  changed.pathname = `/${name}`;
  return changed.href;
};

/** How the password came to stand there, and the environment. */
const slips: readonly (readonly [string, () => Record<string, string>])[] = [
  ['for the user', () => ({ DATABASE_URL: withLogin(test.url, 'CANARY') })],
  ['for the user, with one', () => ({ DATABASE_URL: withLogin(test.url, 'CANARY:x') })],
  ['in the user, behind %40', () => ({ DATABASE_URL: withLogin(test.url, 'fleet%40CANARY') })],
  ['for the database', () => ({ DATABASE_URL: withDatabase(test.url, 'CANARY') })],
  [
    'for the user of tenants',
    () => ({ DATABASE_URL: test.url, TENANT_DATABASE_URL: withLogin(test.tenantUrl, 'CANARY:x') }),
  ],
  [
    'for the user of the direct address',
    () => ({ DATABASE_URL: test.url, DATABASE_DIRECT_URL: withLogin(test.url, 'CANARY:x') }),
  ],
];
const commands = [
  ['doctor'],
  ['migrate', 'up'],
  ['jobs', 'list'],
  ['start', 'scheduler'],
  ['start', 'worker'],
];

/** A scheduler opens no session of a tenant, and would run on. */
const isUnused = (slip: string, args: readonly string[]): boolean =>
  slip === 'for the user of tenants' && args[1] === 'scheduler';

it.each(
  slips.flatMap(([slip, env]) =>
    commands.filter((args) => !isUnused(slip, args)).map((args) => [slip, args, env] as const),
  ),
)('a password %s: %j names the variable and no part of it', async (_, args, environment) => {
  const env = environment();
  const { code, stdout, stderr } = await runCli(args, { env: { LOG_LEVEL: 'debug', ...env } });
  const said = `${stdout}\n${stderr}`;
  expect(said).not.toContain('CANARY');
  const variable = Object.keys(env).at(-1) ?? '';
  // A command may have no use for the address.
  const isRefused = args[0] === 'start' || variable === 'DATABASE_URL' || code !== 0;
  expect([code === 0, said.includes(variable)]).toEqual(isRefused ? [false, true] : [true, false]);
});
