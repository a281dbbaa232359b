/**
 * No password or key of the environment appears in any output, log, page or table, at log level trace and
 * during failures.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { focusFile } from '../costs/exports/focus/file.ts';
import { freePort } from '../support/children.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { runCli, startCli } from '../support/process.ts';
import { startProvider } from '../support/provider.ts';
import type { TestProvider } from '../support/provider.ts';
import { addTenant } from '../support/tenants.ts';
import { canary, everyPage, everyRow, leaksIn, saltCanary } from './canaries.ts';
import { startRole, stopAll, untilAllEnded } from './fleet.ts';

const apiKey = canary('api');
const ownKey = canary('own');
const encryptionKey = canary('encryption');
const dashboardPassword = canary('dashboard');
const redisPassword = canary('redis');
const legacyKey = canary('legacy');
const salt = saltCanary();
const legacySalt = saltCanary();

let database: TestDatabase;
let folder: string;
let provider: TestProvider;
beforeAll(async () => {
  database = await freshDatabase();
  provider = await startProvider('sk-the-right-one');
  folder = await mkdtemp(join(tmpdir(), 'purser-secrets-'));
});
afterAll(async () => {
  await provider.stop();
  await database.close();
  await rm(folder, { recursive: true });
});

it('keeps every secret out of logs, outputs, pages and tables while the fleet fails', async () => {
  const env = {
    DATABASE_URL: database.url,
    TENANT_DATABASE_URL: database.tenantUrl,
    LOG_LEVEL: 'trace',
    LLM_PROVIDER: 'openai',
    OPENAI_API_KEY: apiKey,
    OPENAI_BASE_URL: provider.url,
    ENCRYPTION_KEY: encryptionKey,
    KDF_SALT: salt,
    ENCRYPTION_KEY_VERSION: '2',
    LEGACY_ENCRYPTION_KEYS: JSON.stringify([{ version: 1, key: legacyKey, salt: legacySalt }]),
    DASHBOARD_USER: 'operator',
    DASHBOARD_PASSWORD: dashboardPassword,
    PORT: String(await freePort()),
  };
  const databasePassword = new URL(database.url).password;
  const keys = [encryptionKey, legacyKey, salt, legacySalt];
  const secrets = [apiKey, dashboardPassword, redisPassword, databasePassword, ownKey, ...keys];
  const tenantId = await addTenant(database.sql, { limitUsd: '5' });
  const path = join(folder, 'one.csv');
  await writeFile(path, focusFile([{}]));
  const ingest = ['ingest', '--tenant', tenantId, '--focus', path];
  expect(await runCli(ingest, { env })).toMatchObject({ code: 0 });
  const byok = await addTenant(database.sql, { limitUsd: '0' });
  const keyFile = join(folder, 'own-key');
  await writeFile(keyFile, ownKey);
  const setKey = ['llm', 'keys', 'set', byok, '--provider', 'openai', '--key-file', keyFile];
  expect(await runCli(setKey, { env })).toMatchObject({ code: 0 });
  expect(await runCli(ingest.with(2, byok), { env })).toMatchObject({ code: 0 });
  const fleet = await startRole('all', env);

  // The provider refuses both keys and repeats them in its answers.
  await untilAllEnded(database.sql);
  const dead = await database.sql<{ id: string }[]>`
    select id::text from background_jobs where state = 'dead_letter' order by tenant_id = ${byok}`;
  const sent = provider.received.map(({ headers }) => headers.authorization);
  expect(new Set(sent)).toEqual(new Set([`Bearer ${apiKey}`, `Bearer ${ownKey}`]));

  // Every connection breaks once.
  await database.sql`
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and usename = current_user and pid <> pg_backend_pid()
      and application_name like 'purser all%'`;
  await fleet.waitForLine(/"level":"(warn|error)"/);

  const paths = ['/', '/healthz', '/readyz', '/status', '/metrics', '/no-such-page'];
  const pages = await everyPage(env.PORT, `operator:${dashboardPassword}`, paths);

  const closedPort = await freePort();
  const wrong = `postgres://u:${databasePassword}@127.0.0.1:${closedPort}/x`;
  const redisAway = { ...env, REDIS_URL: `redis://:${redisPassword}@127.0.0.1:${closedPort}` };
  const commands = await Promise.all([
    runCli(['doctor'], { env: redisAway }),
    runCli(['jobs', 'show', dead[0]?.id ?? ''], { env }),
    runCli(['jobs', 'show', dead.at(-1)?.id ?? ''], { env }),
    runCli(['llm', 'keys', 'list'], { env }),
    runCli(['dlq', 'list', '--json'], { env }),
    runCli(['jobs', 'list'], { env: { ...env, DATABASE_URL: wrong } }),
    runCli(['doctor'], { env: { ...env, DATABASE_URL: wrong } }),
    runCli(['migrate', 'up'], { env: { ...env, DATABASE_URL: `${wrong}@y` } }),
    runCli(['jobs', 'list'], {
      env: {
        ...env,
        DATABASE_URL: databasePassword,
        REDIS_URL: redisPassword,
        LLM_PROVIDER: apiKey,
      },
    }),
  ]);
  expect(commands.map(({ code }) => code)).toEqual([1, 0, 0, 0, 0, 69, 1, 78, 78]);
  expect(commands[1]?.stdout).toContain('401');
  expect(commands[2]?.stdout).toContain(`own openai key of tenant ${byok}`);

  const away = startCli(['start', 'worker'], { env: redisAway });
  await away.waitForLine(/ECONNREFUSED/);
  await away.kill();
  expect(await stopAll([fleet])).toEqual([0]);

  const outputs = commands.map(({ stdout, stderr }) => `${stdout}\n${stderr}`);
  for (const each of [fleet, away]) outputs.push([...each.stdout, ...each.stderr].join('\n'));
  expect(fleet.stderr.join('\n')).toContain('"level":"debug"');
  expect(leaksIn([...outputs, ...pages, ...(await everyRow(database.sql))], secrets)).toEqual([]);
}, 90_000);
