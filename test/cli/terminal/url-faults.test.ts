/**
 * What is wrong with a URL is found with the settings, by every command and role, and nothing of the URL is printed: a
 * password that is not percent-encoded looks like a port, a path, a parameter or a fragment.
 */
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../../src/config.ts';
import { codeOf, messageOf } from '../../../src/errors.ts';
import { runCli } from '../../support/process.ts';

/** Parts of a password: none may be printed. */
const canaries = /CANARY|sekret|Zk9/i;

/** An unescaped character of each kind, behind digits, behind letters, and first. */
const passwords: readonly string[] = [
  ...['/', '?', '#', '&', '%', '[', ']', '\\', '"', '<', ' ', ',', ':', ';', '=', '+', '|'].flatMap(
    (sign) => [
      `12${sign}CANARYx`,
      `CANARY${sign}sekret`,
      `${sign}CANARY`,
      `12${sign}CANARY=Zk9${sign}sekret`,
    ],
  ),
  '?sslmode=CANARY',
  '12?CANARY&password=Zk9&sekret=1',
  '/sekret?CANARY#Zk9',
  'sekret@CANARY/Zk9',
  'sekret@12/CANARY?Zk9',
  '0/CANARY',
  '65536?CANARY',
  '12/../CANARY',
  'CANARY%ZZ',
  'CANARY%00',
  'CANARY%FF',
  'CANARY\nsekret',
  'CANARY\tsekret',
  '12\n?CANARY',
];

const stores = ['DATABASE_URL', 'TENANT_DATABASE_URL', 'DATABASE_DIRECT_URL', 'REDIS_URL'];
const providers = ['OPENAI_BASE_URL', 'ANTHROPIC_BASE_URL', 'GOOGLE_BASE_URL'];

const schemes = (variable: string): readonly string[] =>
  variable === 'REDIS_URL'
    ? ['redis', 'rediss']
    : providers.includes(variable)
      ? ['http', 'https']
      : ['postgres', 'postgresql'];

/** The password where it belongs, without a user, where a parameter gives it, and in forms that are no URL. */
const formsOf = (variable: string, password: string): readonly string[] =>
  schemes(variable).flatMap((scheme) => [
    `${scheme}://user:${password}@127.0.0.1:1/1`,
    `${scheme}://:${password}@127.0.0.1:1/1`,
    `${scheme}://${password}@127.0.0.1:1/1`,
    `${scheme}://user:${password}@/1?host=/nowhere`,
    `${scheme}://127.0.0.1:1/1?user=user&password=${password}`,
    `${scheme}://127.0.0.1:1/1?user=user&password=${password}&sslmode=disable`,
    `${scheme}:user:${password}@127.0.0.1:1/1`,
    `user:${password}@127.0.0.1:1/1`,
    `${scheme}x://user:${password}@127.0.0.1:1/1`,
    `${scheme}://user:${password}@127.0.0.1:99999/1`,
    ...(password.includes('=') ? [] : [`${scheme}://user:${password}`]),
  ]);

const refusalOf = (env: NodeJS.ProcessEnv): unknown => {
  try {
    loadConfig(env);
    return undefined;
  } catch (error) {
    return error;
  }
};

describe.each([...stores, ...providers])('%s', (variable) => {
  it.each(passwords)(
    'with the password %j is refused, if it is, without a part of it',
    (password) => {
      for (const form of formsOf(variable, password)) {
        const refusal = refusalOf({ [variable]: form });
        if (refusal === undefined) continue;
        expect([codeOf(refusal), messageOf(refusal)]).toEqual([
          'invalid_configuration',
          expect.stringContaining(variable),
        ]);
        expect(messageOf(refusal)).not.toMatch(canaries);
        expect(JSON.stringify(refusal)).not.toMatch(canaries);
      }
    },
  );

  it('names the fix for a password with a / ? or #', () => {
    for (const [scheme = ''] of [schemes(variable)]) {
      for (const password of ['1/2', '1?2', '1#2', '/', '?', '#', 'a/b', 'a?b', 'a#b', '1@2/3']) {
        const text = `${scheme}://user:${password}@127.0.0.1:1/1`;
        expect(messageOf(refusalOf({ [variable]: text }))).toMatch(
          /percent-encoded \(\/ as %2F, \? as %3F, # as %23\)/,
        );
      }
    }
  });
});

const run = async (args: readonly string[], env: Record<string, string>) => {
  const { code, stdout, stderr } = await runCli(args, { env: { PORT: '0', ...env } });
  return { code, said: `${stdout}\n${stderr}` };
};
/** A NUL cannot be in an environment. */
const all = (password: string): Record<string, string> =>
  Object.fromEntries(
    [...stores, ...providers].map((name) => [name, formsOf(name, password)[0] ?? '']),
  );

it.each(['12?CANARYx', '?CANARY', '12#CANARY', '12/CANARY', 'CANARY%', 'sekret@CANARY/Zk9'])(
  'the built command prints no part of the password %j',
  async (password) => {
    const { code, said } = await run(['doctor'], all(password));
    expect(code).toBe(78);
    for (const variable of [...stores, ...providers]) expect(said).toContain(`${variable} `);
    expect(said).not.toMatch(canaries);
  },
);

it('nor of one that it uses', async () => {
  const used = all('12,CANARY:a+b=<x> |')['DATABASE_URL'] ?? '';
  const { code, said } = await run(['migrate', 'status'], { DATABASE_URL: used });
  expect(code).toBe(69);
  expect(said).toContain('Check DATABASE_URL');
  expect(said).not.toMatch(canaries);
});

const faults: readonly (readonly [string, Record<string, string>, RegExp])[] = [
  ['a password with ?', { DATABASE_URL: 'postgres://u:12?CANARY@127.0.0.1:1/d' }, /%3F/],
  ['a password with #', { REDIS_URL: 'redis://u:12#CANARY@127.0.0.1:1' }, /%23/],
  ['a password with /', { TENANT_DATABASE_URL: 'postgres://u:12/CANARY@127.0.0.1:1/d' }, /%2F/],
  ['a port out of range', { DATABASE_URL: 'postgres://u:p@127.0.0.1/d?port=99999' }, /has a port/],
  ['a port that is a name', { DATABASE_URL: 'postgres://u:p@127.0.0.1/d?port=abc' }, /has a port/],
  ['port 0', { DATABASE_DIRECT_URL: 'postgres://u:p@127.0.0.1:0/d' }, /has a port/],
  ['port 0 of Redis', { REDIS_URL: 'redis://127.0.0.1:0' }, /has a port/],
  ['an empty host', { DATABASE_URL: 'postgres://u:p@db.invalid:1/d?host=' }, /host is empty/],
  ['a NUL', { DATABASE_URL: 'postgres://u:p@127.0.0.1:1/d%00' }, /control character/],
  ['a fragment', { DATABASE_URL: 'postgres://u:p@127.0.0.1:1/d#CANARY' }, /fragment/],
  ['no slashes', { DATABASE_URL: 'postgres:purser' }, /is not a URL such as/],
  ['a path of a request', { OPENAI_BASE_URL: 'http://h/v1/chat/completions' }, /path of a request/],
  ['a key with its scheme', { OPENAI_API_KEY: 'Bearer CANARY' }, /begins with Bearer/],
];
/** Each with a command of its own, and the first ones with every other. */
const commands = [
  ['doctor'],
  ['migrate', 'status'],
  ['start', 'scheduler'],
  ['start', 'worker'],
  ['start', 'web'],
  ['start', 'all'],
];

it.each(
  faults.flatMap(([name, env, fault], at) =>
    commands
      .filter((_, index) => at === 0 || at === 3 || index === at % commands.length)
      .map((args) => [name, args, env, fault] as const),
  ),
)('%s ends %j with 78, its variable and no stack', async (_, args, env, fault) => {
  const { code, said } = await run(args, { DATABASE_URL: 'postgres://u:p@127.0.0.1:1/d', ...env });
  expect(code).toBe(78);
  expect(said).toMatch(fault);
  expect(said).toContain(Object.keys(env)[0]);
  expect(said).not.toMatch(/CANARY|\n\s+at |startup_step/);
});
