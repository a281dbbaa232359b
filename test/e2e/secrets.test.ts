/**
 * Canaries: no password or key of the environment appears in any output, log, page or table, at the most
 * talkative log level and while things fail.
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { focusFile } from '../handlers/focus-file.ts';
import { freePort } from '../support/children.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { runCli, startCli } from '../support/process.ts';
import { startProvider } from '../support/provider.ts';
import type { TestProvider } from '../support/provider.ts';
import { addTenant } from '../support/tenants.ts';
import { startRole, stopAll, untilAllEnded } from './fleet.ts';

const canary = (name: string): string => `canary-${name}-${randomUUID()}`;
const apiKey = canary('api');
const encryptionKey = canary('encryption');
const dashboardPassword = canary('dashboard');
const redisPassword = canary('redis');

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

/** Texts that mention a secret, cut around it. */
function leaksIn(texts: readonly string[], secrets: readonly string[]): string[] {
  return texts.flatMap((text) =>
    secrets
      .filter((secret) => text.includes(secret))
      .map((secret) => text.slice(Math.max(0, text.indexOf(secret) - 200)).slice(0, 260)),
  );
}

async function everyRow(): Promise<string[]> {
  const tables = await database.sql<{ name: string }[]>`
    select format('%I.%I', schemaname, tablename) as name from pg_tables
    where schemaname in ('public', 'purser', 'bullmq')`;
  const texts: string[] = [];
  for (const { name } of tables) {
    const rows = await database.sql.unsafe<{ text: string }[]>(
      `select coalesce(string_agg(t::text, E'\\n'), '') as text from ${name} t`,
    );
    texts.push(...rows.map(({ text }) => text));
  }
  return texts;
}

it('keeps every secret out of logs, outputs, pages and tables while the fleet fails', async () => {
  const env = {
    DATABASE_URL: database.url,
    TENANT_DATABASE_URL: database.tenantUrl,
    LOG_LEVEL: 'trace',
    LLM_PROVIDER: 'openai',
    OPENAI_API_KEY: apiKey,
    OPENAI_BASE_URL: provider.url,
    ENCRYPTION_KEY: encryptionKey,
    KDF_SALT: Buffer.alloc(32, 3).toString('base64'),
    DASHBOARD_USER: 'operator',
    DASHBOARD_PASSWORD: dashboardPassword,
    PORT: String(await freePort()),
  };
  const databasePassword = new URL(database.url).password;
  const secrets = [apiKey, encryptionKey, dashboardPassword, redisPassword, databasePassword];
  const tenantId = await addTenant(database.sql, { limitUsd: '5' });
  const path = join(folder, 'one.csv');
  await writeFile(path, focusFile([{}]));
  const ingest = ['ingest', '--tenant', tenantId, '--focus', path];
  expect(await runCli(ingest, { env })).toMatchObject({ code: 0 });
  const fleet = await startRole('all', env);

  // The provider refuses the key and repeats it in its answer.
  await untilAllEnded(database.sql);
  const [dead] = await database.sql<{ id: string }[]>`
    select id::text from background_jobs where state = 'dead_letter'`;
  expect(provider.received.length).toBeGreaterThan(0);
  expect(provider.received[0]?.headers.authorization).toBe(`Bearer ${apiKey}`);

  // Every connection breaks once.
  await database.sql`
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and usename = current_user and pid <> pg_backend_pid()
      and application_name like 'purser all%'`;
  await fleet.waitForLine(/"level":"(warn|error)"/);

  const pages: string[] = [];
  for (const path of ['/', '/healthz', '/readyz', '/metrics', '/no-such-page']) {
    const credentials = Buffer.from(`operator:${dashboardPassword}`).toString('base64');
    for (const authorization of [`Basic ${credentials}`, 'Basic b3BlcmF0b3I6d3Jvbmc=']) {
      const url = `http://127.0.0.1:${env.PORT}${path}`;
      const response = await fetch(url, { headers: { authorization } });
      pages.push(JSON.stringify([...response.headers]), await response.text());
    }
  }

  const closedPort = await freePort();
  const wrong = `postgres://u:${databasePassword}@127.0.0.1:${closedPort}/x`;
  const redisAway = { ...env, REDIS_URL: `redis://:${redisPassword}@127.0.0.1:${closedPort}` };
  const commands = await Promise.all([
    runCli(['doctor'], { env: redisAway }),
    runCli(['jobs', 'show', dead?.id ?? ''], { env }),
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
  expect(commands.map(({ code }) => code)).toEqual([1, 0, 0, 69, 1, 69, 78]);
  expect(commands[1]?.stdout).toContain('401');

  const away = startCli(['start', 'worker'], { env: redisAway });
  await away.waitForLine(/ECONNREFUSED/);
  await away.kill();
  expect(await stopAll([fleet])).toEqual([0]);

  const outputs = commands.map(({ stdout, stderr }) => `${stdout}\n${stderr}`);
  for (const each of [fleet, away]) outputs.push([...each.stdout, ...each.stderr].join('\n'));
  expect(fleet.stderr.join('\n')).toContain('"level":"debug"');
  expect(leaksIn([...outputs, ...pages, ...(await everyRow())], secrets)).toEqual([]);
}, 90_000);
