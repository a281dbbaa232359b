import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await freshDatabase();
});
afterAll(() => test.close());

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
      'broken_lock',
      'commit_fence',
      'complete_attempt',
      'current_tenant',
      'enqueue_child',
      'guard_upload',
      'has_token',
      'is_job_open',
      'is_system',
      'key_version_to_write',
      'refuse_change',
      'require_context',
      'source_key',
      'store_rotated',
      'tenancy_mode',
      'token_from_session',
      'values_to_rotate',
    ]);
  });

  it('may read no table that has statistics, nor a partition or an indexed expression that has', async () => {
    const [left] = await test.sql
      .begin(async (tx) => {
        await tx.unsafe(`
          create table parts (tenant_id text not null references tenants (id), note text) partition by list (tenant_id);
          create table parts_x partition of parts for values in ('x');
          create index ix_lower on parts_x (lower(note));
          insert into tenants (id) values ('x');
          insert into parts select 'x', 'one note' from generate_series(1, 1000);
          analyze parts;
          select purser.protect_table('public.parts', 'select');
          select purser.protect_table('public.parts_x', '');
          select purser.apply_tenancy(true)`);
        const found = await tx<{ targets: number; rows: number }[]>`
          select (select count(*)::int from pg_attribute
            where attrelid in ('parts'::regclass, 'parts_x'::regclass, 'ix_lower'::regclass)
              and attnum > 0 and attstattarget is distinct from 0) as targets`;
        const [plan] = await tx<{ 'QUERY PLAN': [{ Plan: { 'Plan Rows': number } }] }[]>`
          explain (format json) select from parts where note = 'one note'`;
        throw Object.assign(new Error('undo'), {
          found: [{ ...found[0], rows: plan?.['QUERY PLAN'][0].Plan['Plan Rows'] }],
        });
      })
      .catch((error: { found: { targets: number; rows: number }[] }) => error.found);
    const [server] = await test.sql<{ version: number }[]>`
      select current_setting('server_version_num')::int as version`;
    // Servers before 18 have no way to throw away what was gathered before.
    const most = Number(server?.version) >= 180_000 ? 100 : 1000;
    expect(left).toMatchObject({ targets: 0 });
    expect(left?.rows).toBeLessThanOrEqual(most);
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
