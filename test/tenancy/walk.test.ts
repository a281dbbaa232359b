/** The check of the catalogue finds every gap in tenancy, in Purser's tables and in a customer's. */
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { migrateUp } from '../../src/db/migrate.ts';
import { findUnprotectedTables } from '../../src/db/tenancy-walk.ts';
import { emptyDatabase, freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await freshDatabase();
});
afterAll(() => test.close());

it('every table with a tenant is under forced row-level security, every definer function pinned', async () => {
  expect(await findUnprotectedTables(test.sql)).toEqual([]);
});

it.each([
  ['a table without policies', 'create table loose (tenant_id text)', 'loose'],
  ['security that is not forced', 'alter table analyses no force row level security', 'analyses'],
  ['a table without the write trigger', 'drop trigger require_context on analyses', 'analyses'],
  [
    'a table in another schema',
    'create schema app; create table app.loose (tenant_id text, note text)',
    'app.loose',
  ],
  [
    'a policy that allows every row to everyone',
    'create policy loose on analyses using (true)',
    'analyses',
  ],
  [
    'a policy that lets the tenant role write any row',
    `create policy loose on analyses for insert to purser_tenant with check (tenant_id <> '')`,
    'analyses',
  ],
  [
    'a registered table without policies',
    `drop policy system_access on purser.in_flight`,
    'purser.in_flight',
  ],
  [
    'a write trigger that is switched off',
    'alter table analyses disable trigger require_context',
    'analyses',
  ],
  [
    'a view without security_invoker',
    'create view loose as select * from analyses; grant select on loose to purser_tenant',
    'loose',
  ],
  [
    'a materialised view that everybody may read',
    'create materialized view loose as select * from plans; grant select on loose to public',
    'loose',
  ],
  [
    'a table that has its tenant in another column',
    'create table loose ("tenantId" text references tenants (id), note text)',
    'loose',
  ],
  [
    'a table with a foreign key to a protected one',
    'create table loose (analysis_id bigint references analyses (id), note text)',
    'loose',
  ],
  [
    'a table that tenants may write',
    'create table loose (note text); grant insert (note) on loose to purser_app_tenant',
    'loose',
  ],
  [
    'a policy that has an OR beside the context',
    `create policy loose on analyses using (tenant_id = (select purser.current_tenant()) or headline = 'x')`,
    'analyses',
  ],
  [
    'a policy that has an OR beside a narrowed context',
    `create policy loose on analyses using
      (tenant_id = (select purser.current_tenant()) and headline = 'x' or headline = 'y')`,
    'analyses',
  ],
  [
    'a policy for all tenants but the context',
    'create policy loose on analyses using (tenant_id <> (select purser.current_tenant()))',
    'analyses',
  ],
  [
    "a policy for a tenant's login",
    'create policy loose on analyses to purser_app_tenant using (true)',
    'analyses',
  ],
  [
    'one column of a view without security_invoker',
    'create view loose as select * from analyses; grant select (headline) on loose to purser_tenant',
    'loose',
  ],
  [
    'a writable view without security_invoker',
    'create view loose as select * from analyses; grant insert on loose to purser_tenant',
    'loose',
  ],
  [
    "a view without security_invoker for a tenant's login",
    'create view loose as select * from analyses; grant select on loose to purser_app_tenant',
    'loose',
  ],
  [
    'a definer function in another schema that PUBLIC may call and that is not registered',
    `create function public.loose() returns setof analyses language sql security definer
      set search_path = pg_catalog, public, pg_temp as 'select * from analyses'`,
    'loose()',
  ],
  [
    'a definer function outside whose tables temporary ones can shadow',
    `create function public.loose() returns int language sql security definer
      set search_path = public as 'select 1'; select purser.allow_tenant('public.loose()')`,
    'loose()',
  ],
  [
    'a definer function outside, without a search_path, for everybody',
    `create function public.loose() returns int language sql security definer as 'select 1'`,
    'loose()',
  ],
  [
    'a schema of the search_path where everybody may create',
    'grant create on schema public to public',
    'schema public (revoke create on schema public from public)',
  ],
  [
    'a definer function with a search_path of its own',
    `create function purser.loose() returns int language sql security definer as 'select 1'`,
    'purser.loose()',
  ],
])('the walk finds %s', async (_what, statement, name) => {
  const found = await test.sql
    .begin(async (tx) => {
      await tx.unsafe(statement);
      throw Object.assign(new Error('undo'), { found: await findUnprotectedTables(tx) });
    })
    .catch((error: { found: string[] }) => error.found);
  expect(found).toEqual([name]);
});

it.each([
  [
    'a view with the eyes of who asks',
    'create view fine with (security_invoker = true) as select * from analyses; grant select on fine to purser_tenant',
  ],
  ['a view that the tenant role may not read', 'create view fine as select * from analyses'],
  [
    'a policy for a role that is no tenant',
    'create policy fine on analyses to purser_system using (true)',
  ],
  [
    'a policy that narrows the context',
    `create policy fine on analyses for select
      using (tenant_id = (select purser.current_tenant()) and (headline = 'x' or headline = 'y'))`,
  ],
  [
    'a definer function outside that is registered and pinned',
    `create function public.fine() returns int language sql security definer
      set search_path = pg_catalog, public, pg_temp as 'select 1'; select purser.allow_tenant('public.fine()')`,
  ],
  [
    'a definer function outside that tenants may not call',
    `create function public.fine() returns int language sql security definer as 'select 1';
      revoke execute on function public.fine() from public`,
  ],
  [
    'a table of the same for all',
    'create table fine (note text); grant select on fine to purser_tenant',
  ],
  [
    'a table in another text type than the context',
    `create table fine (tenant_id varchar(200) references tenants (id), note text);
      select purser.protect_table('public.fine', 'select, insert'); select purser.apply_tenancy(true)`,
  ],
  [
    'a policy that allows less',
    `create policy fine on analyses as restrictive using (headline <> '')`,
  ],
  [
    'a protected table of the customer',
    `create table fine (tenant_id text, note text); select purser.protect_table('public.fine', 'select, insert'); select purser.apply_tenancy(true)`,
  ],
])('the walk has nothing against %s', async (_what, statement) => {
  const found = await test.sql
    .begin(async (tx) => {
      await tx.unsafe(statement);
      throw Object.assign(new Error('undo'), { found: await findUnprotectedTables(tx) });
    })
    .catch((error: { found: string[] }) => error.found);
  expect(found).toEqual([]);
});

it.each(['purser_app', 'purser_plain'] as const)(
  'a migration of %s that adds a table with a tenant and forgets to protect it fails the walk until it does',
  async (login) => {
    const folder = await mkdtemp(join(tmpdir(), 'purser-sql-'));
    const loose = await emptyDatabase(login);
    const migration = (n: number, up: string) =>
      Promise.all([
        writeFile(join(folder, `${n}_made.sql`), up),
        writeFile(join(folder, `${n}_made.down.sql`), 'select 1'),
      ]);
    try {
      await cp(new URL('../../sql/', import.meta.url), folder, { recursive: true });
      await migration(9001, 'create table invoices (tenant_id text, amount numeric)');
      await migrateUp(loose.url, { folder });
      expect(await findUnprotectedTables(loose.sql)).toEqual(['invoices']);
      await migration(9002, `select purser.protect_table('public.invoices', 'select, insert')`);
      await migrateUp(loose.url, { folder });
      expect(await findUnprotectedTables(loose.sql)).toEqual([]);
    } finally {
      await loose.close();
      await rm(folder, { recursive: true });
    }
  },
);
