import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
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
    'a policy that lets everybody at every row',
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
    `drop policy system_access on purser.job_leases`,
    'purser.job_leases',
  ],
  [
    'a write trigger that is switched off',
    'alter table analyses disable trigger require_context',
    'analyses',
  ],
  [
    "a view with its owner's eyes",
    'create view loose as select * from analyses; grant select on loose to purser_tenant',
    'loose',
  ],
  [
    'a materialised view that everybody may read',
    'create materialized view loose as select * from plans; grant select on loose to public',
    'loose',
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

describe('the role purser_tenant', () => {
  it('and purser_system own nothing, bypass nothing and cannot log in', async () => {
    const roles = await test.sql`
      select rolname, rolsuper or rolbypassrls or rolcanlogin or rolcreaterole or rolcreatedb as mighty,
             exists (select from pg_class c where c.relowner = r.oid)
               or exists (select from pg_proc p where p.proowner = r.oid) as owner
      from pg_roles r where rolname in ('purser_tenant', 'purser_system') order by 1`;
    expect(roles).toEqual([
      { rolname: 'purser_system', mighty: false, owner: false },
      { rolname: 'purser_tenant', mighty: false, owner: false },
    ]);
  });

  it('may do with tables exactly what the migrations say', async () => {
    const rows = await test.sql<{ granted: string }[]>`
      select c.oid::regclass::text || ': ' || string_agg(lower(p.privilege), ', ' order by p.privilege) as granted
      from pg_class c
      cross join unnest(array['DELETE', 'INSERT', 'REFERENCES', 'SELECT', 'TRIGGER', 'TRUNCATE', 'UPDATE']) as p (privilege)
      where c.relkind in ('r', 'p', 'v', 'm') and c.relnamespace::regnamespace::text in ('public', 'purser', 'bullmq')
        and (has_table_privilege('purser_tenant', c.oid, p.privilege)
          or (p.privilege in ('SELECT', 'INSERT', 'UPDATE') and has_any_column_privilege('purser_tenant', c.oid, p.privilege)))
      group by c.oid order by 1`;
    expect(rows.map(({ granted }) => granted)).toEqual([
      'analyses: insert, select',
      'api_integrations: insert, select',
      'aws_accounts: insert, select',
      'cost_deliveries: insert, select, update',
      'cost_records: delete, insert, select',
      'ingest_chunks: delete, insert, select',
      'ingest_errors: delete, insert, select',
      'ingest_uploads: insert, select, update',
      'tenants: select',
    ]);
  });

  it('may call exactly the functions that are registered for it', async () => {
    const rows = await test.sql<{ name: string }[]>`
      select p.proname as name from pg_proc p where p.pronamespace = 'purser'::regnamespace
        and has_function_privilege('purser_tenant', p.oid, 'execute') order by 1`;
    expect(rows.map(({ name }) => name)).toEqual([
      'acts_for_tenant',
      'commit_fence',
      'complete_attempt',
      'current_tenant',
      'enqueue_child',
      'has_token',
      'is_system',
      'key_version_to_write',
      'refuse_change',
      'require_context',
      'store_rotated',
      'tenancy_mode',
      'token_from_session',
      'values_to_rotate',
    ]);
  });

  it('writes no id that the database gives, and moves no row to another tenant', async () => {
    const rows = await test.sql<{ may: string }[]>`
      select a.attrelid::regclass || '.' || a.attname || ': ' || p.privilege as may
      from pg_attribute a
      cross join (values ('insert'), ('update')) as p (privilege)
      where a.attrelid in (select table_name::regclass from purser.protected_tables)
        and (a.attidentity <> '' or (a.attname = 'tenant_id' and p.privilege = 'update'))
        and has_column_privilege('purser_tenant', a.attrelid, a.attnum, p.privilege)`;
    expect(rows).toEqual([]);
  });

  it('uses no sequence and creates nothing', async () => {
    const [may] = await test.sql`
      select has_schema_privilege('purser_tenant', 'public', 'create')
          or has_schema_privilege('purser_tenant', 'purser', 'create')
          or has_schema_privilege('purser_tenant', 'bullmq', 'usage')
          or has_database_privilege('purser_tenant', current_database(), 'create') as too_much,
        (select count(*)::int from information_schema.usage_privileges
          where grantee = 'purser_tenant' and object_type = 'SEQUENCE') as sequences`;
    expect(may).toEqual({ too_much: false, sequences: 0 });
  });
});
