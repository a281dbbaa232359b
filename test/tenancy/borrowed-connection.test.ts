import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { Database } from '../../src/db/database.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import type { TenantSql } from '../../src/db/tenant.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { eventually } from '../jobs/job-steps.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

/** A pool of one connection: state that a transaction leaves behind would reach the next one. */
let test: TestDatabase;
let database: Database;
let first: TenantSql;
let second: TenantSql;
let firstTenant: string;

beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ tenantConnections: 1 });
});
beforeEach(async () => {
  firstTenant = await addTenant(test.sql);
  const [one, two] = [firstTenant, await addTenant(test.sql)];
  first = tenantSql(database.tenant, { token: (await startAttempt(test.sql, one)).token });
  second = tenantSql(database.tenant, { token: (await startAttempt(test.sql, two)).token });
  await first`
    insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
    values (${one}, 'first', 'sealed', 1)`;
});
afterAll(() => test.close());

/** What a statement outside any tenant transaction sees on the shared connection. */
async function leftBehind() {
  const [row] = await database.tenant.sessions.use(
    ({ sql }) => sql`
      select coalesce(current_setting('purser.token', true), '') as token,
             current_user = session_user as own_role,
             current_setting('statement_timeout') as statement_timeout`,
  );
  return row;
}

const clean = { token: '', own_role: true, statement_timeout: '0' };

async function backendPid(): Promise<number> {
  const [row] = await database.tenant.sessions.use(
    ({ sql }) => sql<{ pid: number }[]>`select pg_backend_pid() as pid`,
  );
  return row?.pid ?? 0;
}

it('after a commit nothing of the context is left', async () => {
  await first`select account_id from aws_accounts`;
  expect(await leftBehind()).toEqual(clean);
});

it('after a rollback nothing of the context is left', async () => {
  await expect(
    first.begin(async (tx) => {
      await tx`select account_id from aws_accounts`;
      throw new Error('changed my mind');
    }),
  ).rejects.toThrow('changed my mind');
  expect(await leftBehind()).toEqual(clean);
});

it('after an aborted transaction nothing of the context is left', async () => {
  await expect(first`select 1 / 0`).rejects.toMatchObject({ code: '22012' });
  expect(await leftBehind()).toEqual(clean);
});

it('after a cancelled statement nothing of the context is left', async () => {
  const pid = await backendPid();
  const sleeping = first`select pg_sleep(60)`.catch((error: unknown) => error);
  await eventually('the cancel to arrive', async () => {
    const [row] = await test.sql`
      select pg_cancel_backend(pid) as done from pg_stat_activity
      where pid = ${pid} and state = 'active' and query like '%pg_sleep%'`;
    return row;
  });
  expect(await sleeping).toMatchObject({ code: '57014' });
  expect(await leftBehind()).toEqual(clean);
  expect(await backendPid()).toBe(pid);
});

it("settings that a handler makes for the session do not become the next tenant's context", async () => {
  await first.unsafe(
    `select set_config('purser.token', current_setting('purser.token'), false),
            set_config('statement_timeout', '0', false)`,
  );
  expect(await second`select account_id from aws_accounts`).toEqual([]);
  await database.tenant.sessions.use(
    ({ sql }) => sql`select set_config('purser.token', '', false)`,
  );
});

it('a temporary table of one tenant is not there for the next', async () => {
  await first.unsafe('create temp table staging as select * from aws_accounts');
  await expect(second.unsafe('select * from staging')).rejects.toMatchObject({ code: '42P01' });
  await expect(first.unsafe('select * from staging')).rejects.toMatchObject({ code: '42P01' });
});

it('a statement after the deadline is ended by the server', async () => {
  const { token } = await startAttempt(test.sql, firstTenant);
  const late = tenantSql(database.tenant, { token, deadlineMs: Date.now() + 50 });
  await expect(late`select pg_sleep(60)`).rejects.toMatchObject({ code: '57014' });
  expect(await leftBehind()).toEqual(clean);
});

it('no statement is sent after the signal was aborted', async () => {
  const controller = new AbortController();
  const { token } = await startAttempt(test.sql, firstTenant);
  const sql = tenantSql(database.tenant, { token, signal: controller.signal });
  controller.abort(new Error('let go'));
  await expect(sql`select 1 as one`).rejects.toThrow('let go');
});

it('session state that one tenant changed is reset for the next', async () => {
  const before = await second`
    select current_setting('timezone') as zone, current_setting('search_path') as path`;
  await first.unsafe(
    `set timezone = 'Pacific/Kiritimati'; set search_path = 'nowhere'; set my.note = 'planted';
     set default_transaction_read_only = on; set default_transaction_isolation = 'serializable';
     listen planted; declare kept cursor with hold for select 1; select pg_advisory_lock(4711)`,
  );
  const after = await second`
    select current_setting('timezone') as zone, current_setting('search_path') as path`;
  expect(after).toEqual(before);
  const [left] = await second`
    select coalesce(current_setting('my.note', true), '') as note,
           current_setting('transaction_isolation') as isolation,
           current_setting('transaction_read_only') as read_only,
           (select count(*)::int from pg_cursors) as cursors,
           (select count(*)::int from pg_listening_channels()) as channels,
           (select count(*)::int from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks`;
  expect(left).toEqual({
    note: '',
    isolation: 'read committed',
    read_only: 'off',
    cursors: 1,
    channels: 0,
    locks: 0,
  });
});

it('no statement of the fleet can be replaced by a prepared one of a tenant', async () => {
  // Run twice, so that a driver that keeps statements by name has kept this one.
  for (let times = 0; times < 2; times += 1) {
    await second`select account_id from aws_accounts where account_id <> ${'none'}`;
  }
  const names = await first.unsafe(`select name from pg_prepared_statements where name <> ''`);
  expect(names).toEqual([]);
  await first.unsafe('prepare planted as select 1');
  expect(await second.unsafe('select name from pg_prepared_statements')).toEqual([]);
});
