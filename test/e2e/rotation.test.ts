/**
 * A new key while the fleet works: a worker that is killed three times in the middle re-encrypts every row,
 * and each of them opens at every moment. PURSER_ROTATION_ROWS=100000 is the full measure.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EncryptionKeyManager } from '../../src/crypto/keyring.ts';
import { generateSalt } from '../../src/crypto/salt.ts';
import { enqueueMany } from '../../src/jobs/enqueue.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { runCli } from '../support/process.ts';
import { addTenant } from '../support/tenants.ts';
import { startRole, stopAll } from './fleet.ts';
import type { Environment } from './fleet.ts';

const rows = Number(process.env['PURSER_ROTATION_ROWS'] ?? '10000');
const killsAt = [0.1, 0.4, 0.7];
const salt = generateSalt();
const oldKey = { version: 1, key: 'the key of last year' };
const newKey = { version: 2, key: 'the key of this year' };
const before = new EncryptionKeyManager({ primary: { ...oldKey, salt } });
const during = new EncryptionKeyManager({ primary: { ...newKey, salt }, legacy: [oldKey] });
const after = new EncryptionKeyManager({ primary: { ...newKey, salt } });

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.close());

const column = 'aws_accounts.credentials';
const accountId = (index: number): string => String(index).padStart(12, '0');

async function addAccounts(tenantId: string, count: number): Promise<void> {
  const place = { tenantId, column, purpose: 'api_key' } as const;
  for (let from = 0; from < count; from += 5_000) {
    const ids = Array.from({ length: Math.min(5_000, count - from) }, (_, i) =>
      accountId(from + i),
    );
    const tokens = await Promise.all(
      ids.map(async (id) => (await before.encryptString(`secret of ${id}`, place)).ciphertext),
    );
    await database.sql`
      insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
      select ${tenantId}, id, token, 1 from unnest(${ids}::text[], ${tokens}::text[]) as t (id, token)`;
  }
}

/** Checks that every row can be decrypted with these keys to its value. Returns the number of rows. */
async function readAll(keyring: EncryptionKeyManager, tenantId: string): Promise<number> {
  let seen = 0;
  for (let last = ''; ;) {
    const page = await database.sql<{ id: string; token: string; version: number }[]>`
      select account_id as id, credentials as token, encryption_key_version as version
      from aws_accounts where tenant_id = ${tenantId} and account_id > ${last}
      order by account_id limit 2000`;
    for (const { id, token, version } of page) {
      const opened = await keyring.decryptString(token, { tenantId, column, purpose: 'api_key' });
      if (opened !== `secret of ${id}` || !token.startsWith(`v2.${version}.`)) {
        throw new Error(`row ${id} of version ${version} is not what it was`);
      }
    }
    seen += page.length;
    const end = page.at(-1);
    if (end === undefined) return seen;
    last = end.id;
  }
}

async function countRotated(): Promise<number> {
  const [row] = await database.sql<{ count: number }[]>`
    select count(*)::int as count from aws_accounts where encryption_key_version = 2`;
  return row?.count ?? 0;
}

/** Holds the row that is `offset`th in turn, and acts when somebody who rewrites it waits for it. */
async function inTheMiddle(
  tenantId: string,
  offset: number,
  begin: () => Promise<unknown>,
  act: () => Promise<void>,
): Promise<void> {
  await database.sql.begin(async (tx) => {
    const [held] = await tx<{ pid: number }[]>`
      select pg_backend_pid() as pid from aws_accounts where id = (
        select id from aws_accounts where tenant_id = ${tenantId} order by id offset ${offset} limit 1)
      for update`;
    await begin();
    for (;;) {
      const waiting = await database.sql`
        select from pg_stat_activity where ${held?.pid ?? 0} = any(pg_blocking_pids(pid))`;
      if (waiting.length > 0) break;
      await sleep(20);
    }
    await act();
  });
}

/** Polls until `wanted` rows are re-encrypted; adds up the time in which the count grew. */
async function untilRotated(wanted: number, busy: { ms: number }): Promise<number> {
  let done = await countRotated();
  for (;;) {
    const at = performance.now();
    await sleep(20);
    const now = await countRotated();
    if (now > done) busy.ms += performance.now() - at;
    if (now >= wanted) return now;
    done = now;
  }
}

const enqueueReads = (tenantId: string) =>
  enqueueMany(
    database.sql,
    Array.from({ length: 10 }, () => ({
      tenantId,
      jobType: 'read_accounts',
      payload: { from: accountId(Math.floor(Math.random() * rows)), rows: 200 },
    })),
  );

it(`re-encrypts ${rows} rows while jobs read them and their worker is killed three times`, async () => {
  const tenantId = await addTenant(database.sql);
  const neighbourId = await addTenant(database.sql);
  await addAccounts(tenantId, rows);
  await addAccounts(neighbourId, 10);
  const env: Environment = {
    DATABASE_URL: database.url,
    TENANT_DATABASE_URL: database.tenantUrl,
    PURSER_LEASE_MS: '1000',
    PURSER_HANDLERS: join(import.meta.dirname, 'reading-handlers.mjs'),
    KDF_SALT: salt,
    ENCRYPTION_KEY: newKey.key,
    ENCRYPTION_KEY_VERSION: String(newKey.version),
    LEGACY_ENCRYPTION_KEYS: JSON.stringify([oldKey]),
  };
  const scheduler = await startRole('scheduler', env);
  let worker = await startRole('worker', env);
  const until = { over: false };
  let checked = 0;
  const reading = (async () => {
    do {
      checked += await readAll(during, tenantId);
      await enqueueReads(tenantId);
    } while (!until.over);
  })();

  const busy = { ms: 0 };
  const killed: number[] = [];
  const kill = async (share: number, begin: () => Promise<unknown>): Promise<void> => {
    await inTheMiddle(tenantId, rows * share, begin, async () => {
      await worker.kill();
      killed.push(await countRotated());
    });
  };
  let rotated: Promise<number> | undefined;
  const rotate = async (): Promise<void> => {
    expect(await runCli(['keys', 'rotate'], { env, timeoutMs: 120_000 })).toMatchObject({
      code: 0,
      stdout: `${rows + 10} values to re-encrypt under key version 2: 2 jobs; see purser keys status`,
    });
    rotated = untilRotated(rows + 10, busy);
  };
  const startAgain = async (): Promise<void> => {
    worker = await startRole('worker', env);
  };
  for (const [index, share] of killsAt.entries())
    await kill(share, index === 0 ? rotate : startAgain);
  await startAgain();
  await rotated;
  until.over = true;
  await reading;
  console.log(
    `rotation of ${rows} rows: ${Math.round((rows / busy.ms) * 1000)} rows per second while it ran; ` +
      `killed at ${killed.join(', ')} rows; ${checked} rows read and opened meanwhile, besides the jobs`,
  );
  expect(killed.map((count) => count < rows)).toEqual(killsAt.map(() => true));
  expect(checked).toBeGreaterThanOrEqual(rows);

  expect(await readAll(after, tenantId)).toBe(rows);
  expect(await readAll(after, neighbourId)).toBe(10);
  await untilEnded();
  const ends = await database.sql`
    select job_type, state, count(*)::int as jobs from background_jobs
    where job_type in ('read_accounts', 'key_rotation') group by 1, 2 order by 1, 2`;
  expect([...ends]).toEqual([
    { job_type: 'key_rotation', state: 'completed', jobs: 2 },
    { job_type: 'read_accounts', state: 'completed', jobs: expect.any(Number) },
  ]);
  const status = await runCli(['keys', 'status'], { env, timeoutMs: 120_000 });
  expect(status.stdout).toMatch(/^1 +0 +all \d+ +removable: /m);
  expect(status.stdout).toMatch(new RegExp(`^2 +${rows + 10} +all \\d+ +writes$`, 'm'));
  expect(await stopAll([scheduler, worker])).toEqual([0, 0]);
}, 600_000);

async function untilEnded(): Promise<void> {
  for (;;) {
    const left = await database.sql`
      select from background_jobs
      where job_type in ('read_accounts', 'key_rotation') and finished_at is null`;
    if (left.length === 0) return;
    await sleep(50);
  }
}
