/** Help texts and usage errors. */
import { expect, it } from 'vitest';
import { allCommands } from '../../../src/cli/commands.ts';
import { commandHelp } from '../../../src/cli/terminal/help.ts';
import { matchCommand, parseInvocation } from '../../../src/cli/terminal/parse.ts';
import { loadConfig } from '../../../src/config.ts';
import { runCli } from '../../support/process.ts';

const commands = await allCommands();

it('prints the overview for no words, help and --help, with every command in it', async () => {
  const runs = await Promise.all([runCli([]), runCli(['help']), runCli(['--help'])]);
  for (const { code, stdout, stderr } of runs) {
    expect([code, stderr]).toEqual([0, '']);
    for (const { path, summary } of commands) {
      expect(stdout).toMatch(new RegExp(`^ {2}${path} +`, 'm'));
      expect(stdout).toContain(summary);
    }
    expect(stdout).toContain('Exit codes: 0 success, 1 failure');
  }
});

it('names every option and argument in the help of each command', () => {
  for (const command of commands) {
    const help = commandHelp(command);
    expect(help).toContain(`Usage: purser ${command.path}`);
    const words = [
      ...Object.keys(command.options ?? {}).map((name) => `--${name}`),
      ...(command.positionals ?? []).map(({ name }) => name),
    ];
    for (const word of words) expect(help).toContain(`\n  ${word}`);
  }
});

it('prints the help of one command and of a group of commands', async () => {
  const [one, group, word] = await Promise.all([
    runCli(['budget', 'set', '--help']),
    runCli(['jobs', '-h']),
    runCli(['help', 'dlq', 'replay']),
  ]);
  expect(one).toMatchObject({ code: 0, stderr: '' });
  expect(one.stdout).toContain('--monthly-limit USD');
  expect(group.stdout).toMatch(/jobs list[^]*jobs show/);
  expect(group.stdout).not.toContain('dlq');
  expect(word.stdout).toContain('Usage: purser dlq replay [ID]');
});

it.each([
  { args: ['nonsense'], says: 'there is no command "nonsense"' },
  { args: ['migrate', 'sideways'], says: 'there is no command "migrate sideways"' },
  { args: ['jobs'], says: '"jobs" is not a command by itself; choose one of these' },
  { args: ['start', 'foo'], says: 'there is no role "foo"; use scheduler, worker, web or all' },
  { args: ['tenants', 'add', '1.23457E+12'], says: 'is an id that a spreadsheet has changed' },
  { args: ['tenants', 'add', 'a\u001b[31m'], says: 'has a control character' },
  { args: ['nonsense\u001b[31m\u202e'], says: 'there is no command' },
])('answers $args on stderr with exit 64 and nothing else', async ({ args, says }) => {
  const { code, stdout, stderr } = await runCli(args);
  expect(stderr).toContain(says);
  expect([code, stdout]).toEqual([64, '']);
  expect(stderr).not.toMatch(/\n\s+at /);
  // oxlint-disable-next-line no-control-regex
  expect(stderr).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
});

it.each([
  { args: ['start'], says: 'ROLE is missing (scheduler, worker, web or all)' },
  { args: ['start', 'foo'], says: 'there is no role "foo"; use scheduler, worker, web or all' },
  {
    args: ['jobs', 'list', '--nope'],
    says: "Unknown option '--nope'; see: purser jobs list --help",
  },
  { args: ['jobs', 'list', 'extra'], says: 'unexpected argument "extra"' },
  { args: ['jobs', 'list', '--state'], says: "Option '--state <value>' argument missing" },
  { args: ['jobs', 'list', '--state', 'foo'], says: 'use one of pending, queued, running' },
  { args: ['jobs', 'list', '--limit', '-1'], says: "use '--limit=-XYZ'" },
  { args: ['jobs', 'list', '--limit=-1'], says: 'must be a whole number from 1 to 10000' },
  { args: ['jobs', 'list', '--limit', '0'], says: 'must be a whole number from 1 to 10000' },
  { args: ['jobs', 'list', '--limit', '9'.repeat(400)], says: 'must be a whole number' },
  { args: ['jobs', 'list', '--limit', 'abc'], says: 'not "abc"' },
  { args: ['jobs', 'list', '--limit', '\u{1f389}'], says: 'must be a whole number' },
  { args: ['jobs', 'show'], says: "ID is missing (the job's id)" },
  { args: ['jobs', 'show', 'abc'], says: 'from 1 to 9223372036854775807, not "abc"' },
  { args: ['jobs', 'show', '--', '-5'], says: 'from 1 to 9223372036854775807, not "-5"' },
  { args: ['jobs', 'show', '1; drop table jobs'], says: 'a job id is a whole number' },
  { args: ['jobs', 'show', '9'.repeat(30)], says: 'a job id is a whole number' },
  { args: ['dlq', 'replay', '1e3'], says: 'a job id is a whole number' },
  { args: ['dlq', 'discard', '1'], says: '--reason TEXT is missing (reason to record)' },
  { args: ['dlq', 'discard', '1', '--reason', ' '], says: '--reason must not be empty' },
  { args: ['tenants', 'add'], says: "ID is missing (the tenant's id)" },
  { args: ['tenants', 'add', ''], says: 'a tenant id has 1 to 200 visible characters' },
  { args: ['tenants', 'add', '  '], says: 'has a blank at an end' },
  { args: ['tenants', 'add', 'x'.repeat(300)], says: 'is longer than 200 characters' },
  { args: ['tenants', 'add', 'a\nb'], says: 'has a control character' },
  { args: ['tenants', 'add', '1.23457E+12'], says: 'is an id that a spreadsheet has changed' },
  { args: ['tenants', 'add', 'a\u001b[31m'], says: 'has a control character' },
  { args: ['tenants', 'add', 'a\u009b31m'], says: 'has a control character' },
  { args: ['tenants', 'add', 'a\u202eb'], says: 'has an invisible character' },
  { args: ['enqueue', 'finops_analysis'], says: '--tenant T is missing' },
  {
    args: ['enqueue', 'x', '--tenant', 'a', '--payload', '{'],
    says: '--payload is not JSON; quote it',
  },
  { args: ['enqueue', 'x', '--tenant', 'a', '--payload', '[]'], says: 'must be a JSON object' },
  { args: ['enqueue', 'x', '--tenant', 'a', '--payload', 'null'], says: 'must be a JSON object' },
  { args: ['enqueue', 'x', '--tenant', 'a', '--priority', '1001'], says: 'from -1000 to 1000' },
  {
    args: ['ingest', '--focus', 'x'],
    says: 'name the tenant: --tenant T, or --tenant-column',
  },
  {
    args: ['ingest', '--focus', 'x', '--tenant', 'a', '--create-tenants'],
    says: '--create-tenants needs --tenant-column',
  },
  { args: ['budget', 'set', '--tenant', 'a'], says: '--monthly-limit USD is missing' },
  ...['1e9', 'NaN', '-1', '1.1234567890', '', ' ', '9999999999', '25,00', '$25', '0x10', '.5'].map(
    (limit) => ({
      args: ['budget', 'set', '--tenant', 'a', `--monthly-limit=${limit}`],
      says: '--monthly-limit must be US dollars with at most 9 decimals, e.g. 25.00',
    }),
  ),
  {
    args: ['budget', 'set', '--tenant', 'a', '--monthly-limit', '5', '--hard', '--soft'],
    says: 'use --hard or --soft, not both',
  },
  {
    args: ['migrate', 'down'],
    says: 'add --yes to confirm',
    env: { DATABASE_URL: 'postgres://h/d' },
  },
  { args: ['demo', '--port', '99999'], says: '--port must be a whole number from 0 to 65535' },
  { args: ['keys', 'generate-key', 'more'], says: 'unexpected argument "more"' },
])('refuses $args as wrong usage and says what is accepted', async ({ args, says, env }) => {
  const run = async () => {
    const matched = matchCommand(commands, args);
    if (matched === undefined) throw new Error('no such command');
    const invocation = parseInvocation(matched.command, matched.rest);
    return matched.command.run({ ...invocation, config: () => loadConfig(env ?? {}) });
  };
  await expect(run).rejects.toThrow(says);
  await expect(run).rejects.toMatchObject({ exitCode: 64 });
});

it('generates different keys and salts each time, which the configuration accepts', async () => {
  const [salt, key, other] = await Promise.all([
    runCli(['keys', 'generate-salt']),
    runCli(['keys', 'generate-key']),
    runCli(['keys', 'generate-key']),
  ]);
  expect(Buffer.from(salt.stdout, 'base64')).toHaveLength(32);
  expect(key.stdout).not.toBe(other.stdout);
  const made = { KDF_SALT: salt.stdout, ENCRYPTION_KEY: key.stdout };
  expect(loadConfig(made)).toMatchObject(made);
});

it('names the variable to set when a command needs a database', async () => {
  for (const args of [
    ['jobs', 'list'],
    ['start', 'worker'],
    ['start', 'web'],
    ['migrate', 'up'],
  ]) {
    const { code, stderr } = await runCli(args);
    expect(code).toBe(78);
    expect(stderr).toContain('Example: DATABASE_URL=postgres://user:password@host:5432/purser');
  }
});

it('lists every fault of the environment and exits 78', async () => {
  const env = { ENVIRONMENT: 'prod', PORT: 'x', LLM_PROVIDER: 'abacus', KDF_SALT: 'c2hvcnQ=' };
  const { code, stdout, stderr } = await runCli(['start', 'all'], { env });
  expect([code, stdout]).toEqual([78, '']);
  for (const name of Object.keys(env)) expect(stderr).toContain(`\n  ${name} `);
});

it('never embeds a database in production', async () => {
  const env = { ENVIRONMENT: 'production' };
  for (const args of [
    ['start', 'all'],
    ['demo', '--once'],
  ]) {
    const { code, stderr } = await runCli(args, { env });
    expect(code).toBe(78);
    expect(stderr).toContain('DATABASE_URL is required in production');
  }
});
