/**
 * Credentials and secret payload fields that handlers throw, log, return and print, through failures of every
 * kind and at level trace, appear in no log, page, row, metric or output.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EncryptionKeyManager } from '../../src/crypto/keyring.ts';
import { freePort } from '../support/children.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { runCli, startCli, startNode } from '../support/process.ts';
import { addTenant } from '../support/tenants.ts';
import { canary, everyPage, everyRow, leaksIn, saltCanary } from './canaries.ts';
import { stopAll } from './fleet.ts';
import type { Environment } from './fleet.ts';

const ways = [
  'return',
  'throw',
  'cause',
  'retry',
  'cancel',
  'leave',
  'timer',
  'late',
  'child',
  'alone',
];

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.close());

/** Runs a command with its secret on stdin. */
function pipe(env: Environment, args: readonly string[], text: string): Promise<unknown> {
  const main = join(import.meta.dirname, '../../dist/cli/main.js');
  const script = `
    const { spawnSync } = require('node:child_process');
    const run = spawnSync(process.execPath, [${JSON.stringify(main)}, ...${JSON.stringify(args)}],
      { input: ${JSON.stringify(text)}, encoding: 'utf8' });
    process.stdout.write(run.stdout); process.stderr.write(run.stderr); process.exitCode = run.status;`;
  return startNode(['-e', script], `purser ${args.join(' ')}`, { env }).waitForExit({
    timeoutMs: 100_000,
  });
}

async function untilEnded(): Promise<void> {
  const deadline = Date.now() + 150_000;
  for (;;) {
    const left = await database.sql`
      select id, job_type, state, state_detail, payload->>'how' as how from background_jobs
      where job_type in ('leak', 'key_rotation') and finished_at is null`;
    if (left.length === 0) return;
    if (Date.now() > deadline) throw new Error(`work is left: ${JSON.stringify(left)}`);
    await sleep(100);
  }
}

it('credentials and secret fields that handlers expose appear in no log, page, row, metric or output', async () => {
  const secrets = {
    token: canary('payload-token'),
    secretKey: canary('credentials'),
    encryptionKey: canary('encryption'),
    legacyKey: canary('legacy'),
    salt: saltCanary(),
    dashboardPassword: canary('dashboard'),
    tenantPassword: new URL(database.tenantUrl).password,
    password: new URL(database.url).password,
  };
  const PORT = String(await freePort());
  const env = {
    DATABASE_URL: database.url,
    TENANT_DATABASE_URL: database.tenantUrl,
    LOG_LEVEL: 'trace',
    PURSER_LEASE_MS: '2000',
    PURSER_HANDLERS: join(import.meta.dirname, 'leaking-handlers.mjs'),
    ENCRYPTION_KEY: secrets.legacyKey,
    KDF_SALT: secrets.salt,
    DASHBOARD_USER: 'operator',
    DASHBOARD_PASSWORD: secrets.dashboardPassword,
    PORT,
  };
  // The credentials are encrypted with the previous key: the fleet that reads them also rotates them.
  const rotated = {
    ...env,
    ENCRYPTION_KEY: secrets.encryptionKey,
    ENCRYPTION_KEY_VERSION: '2',
    LEGACY_ENCRYPTION_KEYS: JSON.stringify([{ version: 1, key: secrets.legacyKey }]),
  };
  const tenantId = await addTenant(database.sql);
  const credentials = JSON.stringify({ id: 'AKIA', secretKey: secrets.secretKey });
  const outputs: unknown[] = [
    await pipe(
      env,
      ['accounts', 'add', '--tenant', tenantId, '--account-id', '123456789012'],
      credentials,
    ),
  ];
  const names = ['scheduler', 'worker', 'web'];
  const roles = names.map((role) => startCli(['start', role], { env: rotated }));
  for (const role of roles)
    await role.waitForLine(/^purser \w+ is running/, { timeoutMs: 100_000 });
  const enqueue = (text: string) =>
    pipe(rotated, ['enqueue', 'leak', '--tenant', tenantId, '--payload', '-'], text);
  const leaking = (how: string): string => JSON.stringify({ token: secrets.token, how });
  outputs.push(...(await Promise.all(ways.map((how) => enqueue(leaking(how))))));
  // Refused by enqueue: not JSON, and not valid for the schema.
  outputs.push(
    await enqueue(secrets.token),
    await enqueue(JSON.stringify({ token: [secrets.token], how: secrets.token })),
  );
  const foreign = new EncryptionKeyManager({
    primary: { version: 7, key: 'a key that nobody else has', salt: secrets.salt },
  });
  const { ciphertext } = await foreign.encryptString(secrets.secretKey, {
    tenantId,
    column: 'aws_accounts.credentials',
    purpose: 'api_key',
  });
  await database.sql`
    insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
    values (${tenantId}, '999999999999', ${ciphertext}, 7)`;
  outputs.push(await runCli(['keys', 'rotate'], { env: rotated, timeoutMs: 100_000 }));

  const paths = [
    '/',
    '/healthz',
    '/readyz',
    '/status',
    '/metrics',
    '/api/queues?activeQueue=leak&status=failed',
  ];
  const pages: string[] = [];
  const look = async (): Promise<void> => {
    pages.push(...(await everyPage(PORT, `operator:${secrets.dashboardPassword}`, paths)));
  };
  await look();
  await untilEnded();
  // By itself: the end of another attempt can end the thread before this one speaks.
  outputs.push(await enqueue(leaking('after')));
  await untilEnded();
  await roles[1]?.waitForLine(/^after: /);
  await sleep(2_500);
  await look();
  const jobs = await database.sql<{ id: string; state: string; how: string }[]>`
    select id::text, state, payload->>'how' as how from background_jobs
    where job_type = 'leak' order by id`;
  const commands = [
    ...jobs.map(({ id }) => ['jobs', 'show', id, '--logs', 'all']),
    ['jobs', 'show', jobs[0]?.id ?? '', '--json'],
    ['dlq', 'list', '--json'],
    ['keys', 'status', '--json'],
    ['doctor', '--json'],
  ];
  const shown = commands.map((args) => runCli(args, { env: rotated, timeoutMs: 100_000 }));
  outputs.push(...(await Promise.all(shown)));
  expect(await stopAll(roles)).toEqual([0, 0, 0]);

  const said = roles.flatMap(({ stdout, stderr }) => [stdout.join('\n'), stderr.join('\n')]);
  const tables = await everyRow(database.sql);
  const everything = [...said, ...pages, ...tables, ...outputs.map((each) => JSON.stringify(each))];
  expect(leaksIn(everything, Object.values(secrets))).toEqual([]);

  // The handlers did print, and each job ended as expected.
  const worker = roles[1]?.stderr.join('\n') ?? '';
  expect(worker).toMatch(/^\s*token: '\[redacted\]'/m);
  for (const way of ['stdout', 'bytes', 'after']) {
    expect(roles[1]?.stdout.join('\n')).toContain(`${way}: token [redacted], key [redacted]`);
  }
  expect(tables.join('\n')).toContain('token [redacted], key [redacted], all');
  expect(pages.join('\n')).toMatch(/decryption_failed_total\{[^}]*\} 1\b/);
  const completed = jobs.filter(({ state }) => state === 'completed').map(({ how }) => how);
  expect(completed.toSorted()).toEqual(['after', 'child', 'return']);
  expect(jobs).toHaveLength(ways.length + 2);
}, 400_000);
