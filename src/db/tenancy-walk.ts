/**
 * Walks the catalogue: every table that names a tenant has to be under forced row-level security with a
 * policy and the write trigger, and every definer function has to pin its search_path.
 */
import type { Queryable } from './connect.ts';

/** Names of tables with a tenant (and of definer functions) that are not protected. */
export async function findUnprotectedTables(sql: Queryable): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    select c.oid::regclass::text as name
    from pg_class c
    where c.relkind in ('r', 'p') and c.relnamespace in ('public'::regnamespace, 'purser'::regnamespace)
      and (c.oid = 'public.tenants'::regclass or exists (
        select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped))
      and not (c.relrowsecurity and c.relforcerowsecurity
        and exists (select from pg_policy p where p.polrelid = c.oid)
        and exists (select from pg_trigger t where t.tgrelid = c.oid and t.tgname = 'require_context'))
    union all
    select p.oid::regprocedure::text
    from pg_proc p
    where p.pronamespace = 'purser'::regnamespace and p.prosecdef
      and not coalesce(p.proconfig, '{}') @> array['search_path=pg_catalog, public, purser, pg_temp']
    order by 1`;
  return rows.map(({ name }) => name);
}
