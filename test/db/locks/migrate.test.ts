/** A migration beside open transactions: bounded waits, and nobody waits behind it for long. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { Database } from '../../../src/db/database.ts';
import { migrateUp } from '../../../src/db/migrate.ts';
import { messageOf } from '../../../src/errors.ts';
import { addWalkedTypes, arrangeTenant } from '../../scheduler/arranged-tenant.ts';
import type { Arranged } from '../../scheduler/arranged-tenant.ts';
import { holdLock } from '../../scheduler/locking-tenant.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';

let test: TestDatabase;
let database: Database;
let tenant: Arranged;
beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ level: 'L3' });
  await addWalkedTypes(test.sql);
});
beforeEach(async () => {
  tenant = await arrangeTenant(test.sql);
});
afterAll(() => test.close());

const hold = (text: string) =>
  holdLock(database.tenant, tenant, { name: text, take: (tx) => tx.unsafe(text) });

it('is not kept by an advisory lock of a tenant', async () => {
  const held = await hold('select pg_advisory_lock(1886745203)');
  const answer = await Promise.race([
    migrateUp(test.url, { lockWaitMs: 0 }).catch(messageOf),
    sleep(10_000, 'waits'),
  ]);
  await held.release();
  expect(answer).toMatchObject({ applied: [] });
});

it('names the session that holds what it waits for, and what to do, when its time is over', async () => {
  const held = await hold('lock table cost_records in row share mode');
  const waits: string[] = [];
  const answer = await Promise.race([
    migrateUp(test.url, { lockWaitMs: 600, onWait: (what) => void waits.push(what) }).catch(
      (error: unknown) => error,
    ),
    sleep(15_000, 'waits'),
  ]);
  await held.release();
  expect(answer).toMatchObject({
    code: 'lock_held',
    exitCode: 69,
    message: expect.stringMatching(
      /^the policies waited .* pid (\d+) \(login purser_app_tenant, .* open since 2.*select pg_terminate_backend\(\1\)/,
    ),
  });
});

it('goes on by itself when the lock is released, and lets others use the table meanwhile', async () => {
  const held = await hold('lock table cost_records in row share mode');
  const waits: string[] = [];
  const migrating = migrateUp(test.url, { onWait: (what) => void waits.push(what) });
  while (waits.length === 0) {
    const read = test.sql`select from cost_records limit 1`.then(() => 'read');
    expect(await Promise.race([read, sleep(6_000, 'waits')])).toBe('read');
    await sleep(20);
  }
  await held.release();
  expect((await migrating).applied).toEqual([]);
  expect(new Set(waits)).toEqual(new Set(['the policies']));
});

it('is told which migration runs when that outlasts its limit', async () => {
  await test.sql.begin(async (tx) => {
    await tx`lock table purser.migrations in share update exclusive mode`;
    const [mine] = await tx<{ pid: number }[]>`select pg_backend_pid() as pid`;
    await expect(migrateUp(test.url, { lockWaitMs: 0 })).rejects.toMatchObject({
      code: 'migration_running',
      exitCode: 69,
      message: expect.stringContaining(`pid ${mine?.pid} `),
    });
  });
});
