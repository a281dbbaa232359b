import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findUnprotectedTables } from '../../src/db/tenancy-walk.ts';
import { freshDatabase } from '../support/database.ts';
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
      'current_tenant',
      'enqueue_child',
      'has_token',
      'is_system',
      'refuse_change',
      'require_context',
      'tenancy_mode',
      'token_from_session',
    ]);
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
