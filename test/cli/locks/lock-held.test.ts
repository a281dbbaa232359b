/** A command that meets the lock of a tenant's open transaction ends within its lock timeout and names the holder. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { withDatabase } from '../../../src/cli/runtime/with-database.ts';
import { loadConfig } from '../../../src/config.ts';
import type { Database } from '../../../src/db/database.ts';
import { addWalkedTypes, arrangeTenant } from '../../scheduler/arranged-tenant.ts';
import { holdLock } from '../../scheduler/locking-tenant.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { invokeWith } from '../in-process.ts';
import type { Outcome } from '../in-process.ts';

let test: TestDatabase;
let database: Database;
beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ level: 'L3' });
  await addWalkedTypes(test.sql);
});
afterAll(() => test.close());

/** What `args` answers while a tenant holds what `text` locks, and that tenant's id. */
async function whileHeld(text: string, args: (tenantId: string) => string[]) {
  const tenant = await arrangeTenant(test.sql);
  const invoke = invokeWith({ DATABASE_URL: test.url, TENANT_DATABASE_URL: test.tenantUrl });
  const held = await holdLock(database.tenant, tenant, {
    name: text,
    take: (tx) => tx.unsafe(text),
  });
  const late: Outcome = { code: -1, out: '', err: 'waits' };
  const answer = await Promise.race([invoke(...args(tenant.tenantId)), sleep(20_000, late)]);
  await held.release();
  return answer;
}

const clear =
  /waited in vain for a lock that pid (\d+) \(login purser_app_tenant, .*open since.*Try again.*select pg_terminate_backend\(\1\)/;

it('enqueue with a dedup key that a child job is being made with', async () => {
  const { code, err } = await whileHeld(
    `select purser.enqueue_child('test_step', '{}', 'fresh')`,
    (id) => ['enqueue', 'test_step', '--tenant', id, '--dedup-key', 'fresh'],
  );
  expect([code, err]).toEqual([69, expect.stringMatching(clear)]);
});

it('doctor, whose other checks go on', async () => {
  const { code, out } = await whileHeld('lock table cost_records in access exclusive mode', () => [
    'doctor',
  ]);
  expect([code, out]).toEqual([1, expect.stringMatching(clear)]);
  expect(out).toContain('ok    pauses: nothing is paused');
});

it('a command has a lock timeout on the server, also when its process is gone', async () => {
  const config = loadConfig({ DATABASE_URL: test.url, LOG_LEVEL: 'silent' });
  const [row] = await withDatabase(
    config,
    ({ database: { system } }) => system`select current_setting('lock_timeout') as timeout`,
  );
  expect(row).toEqual({ timeout: '5s' });
});
