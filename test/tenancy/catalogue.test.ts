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
