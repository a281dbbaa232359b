/**
 * Walks the catalogue for what would let a tenant past: a table that names a tenant and is not under forced
 * row-level security by its own context, a view around it, a definer function whose names can be taken over.
 */
import type { Queryable } from './connect.ts';

/** Names of tables, views, functions and schemas that are not protected. Extensions' own are not looked at. */
export async function findUnprotectedTables(sql: Queryable): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    with tenant (oid) as (
      select 0::oid union all select oid from pg_roles where rolname = 'purser_tenant'
    ), ours (oid) as (
      select oid from pg_namespace
      where nspname !~ '^pg_' and nspname not in ('information_schema', 'bullmq')
    ), of_extension (classid, objid) as (
      select classid, objid from pg_depend where deptype = 'e'
    ), open_policy (polrelid) as (
      -- For the tenant role, by name or as one of everybody, and not bound to the context.
      select p.polrelid from pg_policy p
      where p.polpermissive and exists (
          select from tenant t cross join unnest(p.polroles) as role (oid)
          where role.oid = 0 or (t.oid <> 0 and pg_has_role(t.oid, role.oid, 'usage')))
        and not (coalesce(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
            ~ '(current_tenant|is_system)[(]'
          and coalesce(pg_get_expr(p.polwithcheck, p.polrelid), pg_get_expr(p.polqual, p.polrelid))
            ~ '(current_tenant|is_system)[(]')
    )
    select c.oid::regclass::text as name
    from pg_class c join ours on ours.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'f')
      and (exists (select from pg_attribute a
          where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped)
        or c.oid in (select to_regclass(t.table_name) from purser.protected_tables t))
      and not (c.relrowsecurity and c.relforcerowsecurity
        and exists (select from pg_policy p where p.polrelid = c.oid)
        and c.oid not in (select polrelid from open_policy)
        and exists (select from pg_trigger t
          where t.tgrelid = c.oid and t.tgname = 'require_context' and t.tgenabled in ('O', 'A')))
    union all
    select c.oid::regclass::text
    from pg_class c join ours on ours.oid = c.relnamespace
    where (c.relkind = 'm' or (c.relkind = 'v'
        and not coalesce(c.reloptions, '{}') && array['security_invoker=true', 'security_invoker=on']))
      and exists (select from tenant t where has_table_privilege(t.oid, c.oid, 'select'))
      and (1259::oid, c.oid) not in (select classid, objid from of_extension)
    union all
    select p.oid::regprocedure::text
    from pg_proc p join ours on ours.oid = p.pronamespace
    where p.prosecdef and case when p.pronamespace = 'purser'::regnamespace
        then not coalesce(p.proconfig, '{}') @> array['search_path=pg_catalog, public, purser, pg_temp']
        else array_to_string(p.proconfig, ' ') !~ 'search_path=' is not false
          and exists (select from tenant t where has_function_privilege(t.oid, p.oid, 'execute')) end
      and (1255::oid, p.oid) not in (select classid, objid from of_extension)
    union all
    select format('schema %1$I (revoke create on schema %1$I from public)', n.nspname)
    from pg_namespace n
    where n.nspname in ('public', 'purser')
      and exists (select from tenant t where has_schema_privilege(t.oid, n.oid, 'create'))
    order by 1`;
  return rows.map(({ name }) => name);
}
