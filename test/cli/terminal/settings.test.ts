/** Every setting is checked at the start of every command, also of one that does not use it. */
import { expect, it } from 'vitest';
import { readSettings } from '../../../src/cli/runtime/settings.ts';
import { describeConfig } from '../../../src/config.ts';
import { messageOf, PurserError } from '../../../src/errors.ts';
import { runCli } from '../../support/process.ts';

/** Values with which nothing could work. */
const bad: Readonly<Record<string, readonly string[]>> = {
  ENVIRONMENT: ['prod'],
  DATABASE_URL: ['purser', 'mysql://host/purser', 'postgres://host', 'postgres:purser'],
  TENANT_DATABASE_URL: ['purser'],
  DATABASE_DIRECT_URL: ['purser'],
  DATABASE_TLS_VERIFY: ['yes'],
  REDIS_URL: ['redis', 'http://host'],
  REDIS_TLS_VERIFY: ['1'],
  KDF_SALT: ['salt'],
  ENCRYPTION_KEY: ['short'],
  ENCRYPTION_KEY_VERSION: ['0', '1.5', 'x'],
  LEGACY_ENCRYPTION_KEYS: ['{', '{}', '[1]', '[{"version":0,"key":"k"}]', '[{"version":1}]'],
  PORT: ['-1', '65536', 'http'],
  DASHBOARD_USER: ['a:b', 'a\nb', ' a', '\u00e9'],
  DASHBOARD_PASSWORD: ['short'],
  TRUSTED_PROXIES: ['proxy', '10.0.0.0/0'],
  PURSER_BUILTINS: ['all'],
  LLM_PROVIDER: ['abacus'],
  LLM_MODEL: ['a\nb', ' a'],
  LLM_TIMEOUT_SECONDS: [
    '0',
    '601',
    '1.5',
    '30,',
    '30,o3',
    '30,=5',
    '30,o3=0',
    '30,o3=1,o3=2',
    'o3=5',
  ],
  OPENAI_API_KEY: ['key\n', ' key', 'k\u00e9y', 'Bearer key', 'k ey'],
  OPENAI_BASE_URL: ['localhost', 'https://host/v1/chat/completions'],
  ANTHROPIC_API_KEY: ['key\n'],
  ANTHROPIC_BASE_URL: ['localhost'],
  GOOGLE_API_KEY: ['key\n'],
  GOOGLE_BASE_URL: ['localhost'],
  WORKER_CONCURRENCY: ['0'],
  WORKER_BEGUN_AHEAD: ['-1', '1001', 'many'],
  SCHEDULER_JOBS_PER_ENTRY: ['0', '101', 'all'],
  SCHEDULER_DEADLOCK_RETRY_SECONDS: ['1;2', '-1', '3601', '1,2,3,4,5,6,7,8,9,10,11'],
  WORKER_THREADS: ['0', '33'],
  WORKER_THREAD_HEAP_MB: ['63'],
  PURSER_LEASE_MS: ['999'],
  LOG_LEVEL: ['verbose'],
  ALERT_WEBHOOK_URL: ['example.com', 'ftp://example.com', 'https://user:pass@example.com/'],
  ALERT_WEBHOOK_SECRET: ['short'],
  ALERT_WEBHOOK_PRIVATE: ['yes'],
  METRICS_PUBLIC: ['yes'],
};

/** Paths, which are read when they are used. */
const anyText = ['PURSER_DATA_DIR', 'PURSER_HANDLERS'];

it('the table has every setting', () => {
  expect([...Object.keys(bad), ...anyText].toSorted()).toEqual(
    describeConfig()
      .map(({ name }) => name)
      .toSorted(),
  );
});

it.each(Object.entries(bad).flatMap(([name, values]) => values.map((value) => [name, value])))(
  '%s=%j is refused by name, with 78, and its value is not shown',
  (name = '', value = '') => {
    const refusal = (() => {
      try {
        return readSettings({ DASHBOARD_USER: 'operator', [name]: value });
      } catch (error) {
        return error;
      }
    })();
    expect(refusal).toBeInstanceOf(PurserError);
    expect(refusal).toMatchObject({ exitCode: 78 });
    expect(messageOf(refusal)).toContain(name);
  },
);

it('a command that needs no keys refuses unusable ones', async () => {
  const { code, stderr } = await runCli(['enqueue', 'x', '--tenant', 't'], {
    env: { LEGACY_ENCRYPTION_KEYS: '{' },
  });
  expect([code, stderr]).toEqual([
    78,
    expect.stringMatching(/^purser: LEGACY_ENCRYPTION_KEYS is not valid JSON/),
  ]);
});
