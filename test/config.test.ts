/** The configuration: all faults at once, and no defaults for secrets in production. */
import { describe, expect, it } from 'vitest';
import { generateKey } from '../src/crypto/derive.ts';
import { generateSalt } from '../src/crypto/salt.ts';
import { describeConfig, loadConfig } from '../src/config.ts';
import type { PurserError } from '../src/errors.ts';

function faultsOf(env: NodeJS.ProcessEnv): PurserError {
  try {
    loadConfig(env);
  } catch (error) {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    return error as PurserError;
  }
  throw new Error('the environment was accepted');
}

const salt = generateSalt();
const production = {
  ENVIRONMENT: 'production',
  DATABASE_URL: 'postgres://user:password@host:5432/purser',
  KDF_SALT: salt,
  ENCRYPTION_KEY: 'a passphrase of some length',
  DASHBOARD_USER: 'operator',
  DASHBOARD_PASSWORD: 'correct horse battery',
};

/** One wrong value each, with a word that must not come back. */
const wrong = {
  ENVIRONMENT: 'CANARY',
  DATABASE_URL: 'mysql://CANARY:CANARY@host/db',
  TENANT_DATABASE_URL: 'postgres://CANARY@host',
  DATABASE_DIRECT_URL: 'CANARY',
  DATABASE_TLS_VERIFY: 'CANARY',
  REDIS_URL: 'http://CANARY',
  REDIS_TLS_VERIFY: '1',
  KDF_SALT: 'CANARY',
  ENCRYPTION_KEY: 'CANARY',
  ENCRYPTION_KEY_VERSION: '0',
  PORT: '65536',
  DASHBOARD_PASSWORD: 'CANARY',
  PURSER_BUILTINS: 'CANARY',
  TRUSTED_PROXIES: '0.0.0.0/0',
  LLM_PROVIDER: 'CANARY',
  OPENAI_BASE_URL: 'file:///CANARY',
  WORKER_CONCURRENCY: '-1',
  LOG_LEVEL: 'CANARY',
};

it('reports all faults at once, each with variable and example, never with the value', () => {
  const error = faultsOf(wrong);
  expect(error.code).toBe('invalid_configuration');
  expect(error.exitCode).toBe(78);
  const lines = error.message.split('\n').slice(1);
  for (const name of Object.keys(wrong)) {
    const line = lines.find((text) => text.trim().startsWith(`${name} `));
    expect(line).toMatch(new RegExp(`Example: ${name}=.+|Use the output of: purser keys`));
  }
  expect(lines).toHaveLength(Object.keys(wrong).length + 1); // DASHBOARD_USER goes with its password
  expect(error.message).not.toContain('CANARY');
});

it('accepts its own examples', () => {
  const examples = describeConfig().filter(({ example }) => !example.startsWith('the output of'));
  const env = Object.fromEntries(examples.map(({ name, example }) => [name, example]));
  const made = {
    KDF_SALT: salt,
    ENCRYPTION_KEY: generateKey(),
    DASHBOARD_PASSWORD: generateKey(),
    ALERT_WEBHOOK_SECRET: generateKey(),
  };
  expect(() => loadConfig({ ...env, ...made })).not.toThrow();
});

it.each(Object.keys(production).filter((name) => name !== 'ENVIRONMENT'))(
  'requires %s in production, and an empty value does not count',
  (name) => {
    expect(loadConfig(production).ENVIRONMENT).toBe('production');
    for (const env of [
      { ...production, [name]: '' },
      { ...production, [name]: undefined },
    ]) {
      expect(faultsOf(env).message).toMatch(new RegExp(`${name} is required in production`));
    }
  },
);

it('requires a salt in staging, so that data can be decrypted after a restart', () => {
  expect(faultsOf({ ENVIRONMENT: 'staging' }).message).toContain('KDF_SALT is required in staging');
});

it.each(['ENCRYPTION_KEY', 'DASHBOARD_PASSWORD'])(
  'refuses a %s whose ends cannot be seen, at every stage',
  (name) => {
    const key = generateKey();
    for (const [value, fault] of [
      [`${key}\n`, 'has a control character'],
      [`${key}\r\n`, 'has a control character'],
      [`a\t${key}`, 'has a control character'],
      [` ${key}`, 'has a blank at its start or end'],
      [`${key}\u00a0`, 'has a blank at its start or end'],
    ] as const) {
      for (const ENVIRONMENT of ['production', 'development']) {
        const { message } = faultsOf({ ...production, ENVIRONMENT, [name]: value });
        expect(message).toContain(`has 1 fault:\n  ${name} ${fault}`);
        expect(message).not.toContain(key);
      }
    }
    expect(() => loadConfig({ ...production, [name]: 'four words of pass' })).not.toThrow();
  },
);

describe('weak secrets', () => {
  const bytes = (byteAt: (index: number) => number): string =>
    Buffer.from(Array.from({ length: 32 }, (_, index) => byteAt(index))).toString('base64');

  it.each([
    ['KDF_SALT', bytes(() => 0)],
    ['KDF_SALT', bytes(() => 255)],
    ['KDF_SALT', bytes((index) => index)],
    ['KDF_SALT', bytes((index) => 255 - 3 * index)],
    ['KDF_SALT', bytes((index) => [19, 4, 200, 77][index % 4] ?? 0)],
    ['KDF_SALT', Buffer.from('0123456789abcdef0123456789abcdef').toString('base64')],
    ['KDF_SALT', Buffer.from('The quick brown fox jumps over 2').toString('base64')],
    ['ENCRYPTION_KEY', 'aaaaaaaaaaaaaaaaaaaaaaaa'],
    ['ENCRYPTION_KEY', 'abababababababababab'],
    ['ENCRYPTION_KEY', 'passwordpassword'],
    ['ENCRYPTION_KEY', 'Password1234567890!'],
    ['ENCRYPTION_KEY', 'purser-encryption-key'],
    ['ENCRYPTION_KEY', 'Password-qwerty-xyz'],
    ['DASHBOARD_PASSWORD', 'password'],
    ['DASHBOARD_PASSWORD', 'Passw0rd!2026'],
    ['DASHBOARD_PASSWORD', 'operator-operator'],
    ['DASHBOARD_PASSWORD', 'short-one'],
    ['DASHBOARD_PASSWORD', 'purser-dashboard-1'],
    ['DASHBOARD_PASSWORD', '123456789012345'],
    ['DASHBOARD_PASSWORD', 'changeme-changeme'],
  ])(
    'are refused in production and staging, and named without their value: %s %s',
    (name, value) => {
      for (const ENVIRONMENT of ['production', 'staging']) {
        const { message } = faultsOf({ ...production, ENVIRONMENT, [name]: value });
        expect(message).toMatch(
          new RegExp(`\n  ${name} .+Use the output of: purser keys generate-`),
        );
        expect(message).not.toContain(value);
      }
      expect(() =>
        loadConfig({ ...production, ENVIRONMENT: 'development', [name]: value }),
      ).not.toThrow();
    },
  );

  it('include one value for two secrets, and a password that is the user name', () => {
    const twice = generateKey();
    const { message } = faultsOf({
      ...production,
      ENCRYPTION_KEY: twice,
      DASHBOARD_PASSWORD: twice,
    });
    expect(message).toContain('DASHBOARD_PASSWORD is the same as ENCRYPTION_KEY');
    const asSalt = faultsOf({ ...production, ENCRYPTION_KEY: salt });
    expect(asSalt.message).toContain('ENCRYPTION_KEY is the same as KDF_SALT');
    const named = { DASHBOARD_USER: 'grace.hopper@acme', DASHBOARD_PASSWORD: 'Grace.Hopper@acme1' };
    expect(faultsOf({ ...production, ...named }).message).toContain('DASHBOARD_PASSWORD');
  });

  it('are never among those that purser generates', () => {
    for (let round = 0; round < 300; round += 1) {
      const generated = {
        KDF_SALT: generateSalt(),
        ENCRYPTION_KEY: generateKey(),
        DASHBOARD_PASSWORD: generateKey(),
      };
      expect(() => loadConfig({ ...production, ...generated })).not.toThrow();
    }
  });
});

it.each([
  ['10.0.0.0/8', ['10.0.0.0/8']],
  ['127.0.0.1, ::1 ,fd00::/8', ['127.0.0.1', '::1', 'fd00::/8']],
])('reads TRUSTED_PROXIES=%s', (text, proxies) => {
  expect(loadConfig({ TRUSTED_PROXIES: text }).TRUSTED_PROXIES).toEqual(proxies);
});

it.each(['CANARY', '10.0.0.0/33', '10.0.0.0/0', '::/0', '10.0.0.0/8/8', '10.0.0.1,', '300.1.1.1'])(
  'refuses TRUSTED_PROXIES=%s',
  (text) => {
    expect(faultsOf({ TRUSTED_PROXIES: text }).message).toContain('list of IP addresses');
  },
);

it('treats empty variables as unset', () => {
  const names = describeConfig().map(({ name }) => name);
  const empty = loadConfig(Object.fromEntries(names.map((name) => [name, ''])));
  expect(empty).toEqual(loadConfig({}));
  expect(empty.PORT).toBe(3000);
});

it('ignores variables that are not in the schema', () => {
  expect(() => loadConfig({ PURSER_FUTURE: 'x', PATH: '' })).not.toThrow();
});

it('requires an API key with the openai provider unless OPENAI_BASE_URL is set', () => {
  expect(faultsOf({ LLM_PROVIDER: 'openai' }).message).toContain('OPENAI_API_KEY is required');
  const own = { LLM_PROVIDER: 'openai', OPENAI_BASE_URL: 'http://127.0.0.1:11434/v1' };
  expect(loadConfig(own).LLM_PROVIDER).toBe('openai');
});
