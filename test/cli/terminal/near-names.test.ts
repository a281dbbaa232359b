/** What the CLI suggests for mistyped commands, options and environment variables, and where it suggests nothing. */
import { describe, expect, it } from 'vitest';
import { allCommands } from '../../../src/cli/commands.ts';
import { checkVariables } from '../../../src/cli/doctor/checks/configuration.ts';
import { nearVariables } from '../../../src/cli/runtime/near-variables.ts';
import { nearCommand } from '../../../src/cli/terminal/near-command.ts';
import { parseInvocation } from '../../../src/cli/terminal/parse.ts';
import { runCli } from '../../support/process.ts';

const commands = await allCommands();

describe('a command', () => {
  it.each([
    [['job', 'list'], 'jobs list'],
    [['jobs', 'lst', '--json'], 'jobs list'],
    [['list', 'jobs'], 'jobs list'],
    [['tenant', 'ad', 'acme'], 'tenants add'],
    [['bugdet', 'top-up', '--tenant', 'a'], 'budget top-up'],
    [['docter'], 'doctor'],
    [['strat', 'worker'], 'start'],
    [['llm', 'key', 'list'], 'llm keys list'],
    [['nonsense'], undefined],
    [['jobs', 'frobnicate'], undefined],
    [['x'.repeat(10_000)], undefined],
  ])('%j is taken for %s', (argv, path) => {
    expect(nearCommand(commands, argv)).toBe(path);
  });

  it('is suggested in one line, with exit 64, instead of the help of all commands', async () => {
    const { code, stdout, stderr } = await runCli(['jobs', 'lits', '--state', 'parked']);
    expect([code, stdout]).toEqual([64, '']);
    expect(stderr.split('\n')).toEqual([
      'purser: there is no command "jobs lits --state parked"; did you mean purser jobs list?',
      '  All commands: purser --help',
    ]);
  });
});

it.each([
  ['jobs list', '--tennat', '--tenant'],
  ['budget set', '--montly-limit', '--monthly-limit'],
  ['enqueue', '--dedupkey', '--dedup-key'],
  ['jobs list', '--nope', undefined],
])('of %s the option %s is taken for %s', (path, given, meant) => {
  const command = commands.find((each) => each.path === path);
  if (command === undefined) throw new Error(`no command ${path}`);
  const says =
    meant === undefined
      ? `Unknown option '${given}'; see: purser ${path} --help`
      : `Unknown option '${given}'; did you mean ${meant}? see: purser ${path} --help`;
  expect(() => parseInvocation(command, [given, 'x'])).toThrow(says);
});

describe('an environment variable', () => {
  it.each([
    ['REDIS_ULR', 'REDIS_URL'],
    ['REDIS_URI', 'REDIS_URL'],
    ['redis_url', 'REDIS_URL'],
    ['DATABSE_URL', 'DATABASE_URL'],
    ['PURSER_HANDLER', 'PURSER_HANDLERS'],
    ['TENANT_DATABASE_ULR', 'TENANT_DATABASE_URL'],
    ['REDIS_TLS_VERFIY', 'REDIS_TLS_VERIFY'],
  ])('%s is taken for %s', (name, meant) => {
    expect(nearVariables({ [name]: 'x' })).toEqual([{ name, meant }]);
    expect(checkVariables({ [name]: 'x' })).toMatchObject({
      level: 'warn',
      fix: `rename ${name} to ${meant}`,
    });
  });

  it('of a host, or beside the variable itself, is not taken for another', () => {
    const ofHosts = [
      'REDIS_TLS_URL',
      'REDIS_USER',
      'REDIS_HOST',
      'REDIS_PORT',
      'DATABASE_USER',
      'DATABASE_NAME',
      'DATABASE_PORT',
      'DATABASE_PRIVATE_URL',
      'HOSTNAME',
      'PATH',
      'PORTS',
      'NODE_ENV',
    ];
    expect(nearVariables(Object.fromEntries(ofHosts.map((name) => [name, 'x'])))).toEqual([]);
    expect(nearVariables({ REDIS_URL: 'redis://h', REDIS_ULR: 'redis://h' })).toEqual([]);
    expect(nearVariables({ REDIS_ULR: '' })).toEqual([]);
  });

  it('that is mistyped is named by a start, before what is missing without it', async () => {
    const env = { DATABSE_URL: 'postgres://user:secret@host/db' };
    const { code, stderr } = await runCli(['start', 'worker'], { env });
    expect(code).toBe(78);
    expect(stderr).toMatch(
      /^purser: the environment has DATABSE_URL, which Purser does not read, and no DATABASE_URL; did you mean DATABASE_URL\?\npurser: DATABASE_URL is not set/,
    );
    expect(stderr).not.toContain('secret');
  });
});
