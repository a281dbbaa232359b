/**
 * Checks the catalogue for gaps in tenancy: a table that has a tenant or that tenants may write, without forced
 * row-level security by the context; a view without security_invoker; a definer function that is not registered or
 * whose search_path is not pinned.
 */
import type { Queryable } from './connect.ts';

/** As pg_get_expr writes them. */
const call = (name: string): string => String.raw`\( SELECT (purser\.)?${name}\(\) AS ${name}\)`;
const own = String.raw`\((\w+|"[^"]+"|\((\w+|"[^"]+")\)::text) = ${call('current_tenant')}\)`;
const l1 = String.raw`\s*CASE\s+WHEN \(?${call('is_system')}( OR \(NOT ${call('has_token')}\)\))? THEN true\s+ELSE ${own}\s+END`;
/** The conditions that purser.apply_tenancy writes; they may be narrowed by AND. */
const context = `^(${own}|${l1}|${call('is_system')})$|^\\(${own} AND `;

/** Names of tables, views, functions and schemas that are not protected. Objects of extensions are skipped. */
export async function findUnprotectedTables(sql: Queryable): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    with tenant (oid) as (
      -- PUBLIC, the tenant role, and the logins that are members of it.
      select 0::oid union all
      select r.oid from pg_roles r
      where pg_has_role(r.oid, (select oid from pg_roles where rolname = 'purser_tenant'), 'member')
        and not pg_has_role(r.oid, (select oid from pg_roles where rolname = 'purser_system'), 'member')
    ), ours (oid) as (
      select oid from pg_namespace
      where nspname !~ '^pg_' and nspname not in ('information_schema', 'bullmq')
    ), of_extension (classid, objid) as (
      select classid, objid from pg_depend where deptype = 'e'
    ), registered (oid) as (
      select to_regclass(t.table_name) from purser.protected_tables t
    ), may (relation, reads, writes) as (
      select c.oid,
        bool_or(has_table_privilege(t.oid, c.oid, 'select') or has_any_column_privilege(t.oid, c.oid, 'select')),
        bool_or(has_table_privilege(t.oid, c.oid, 'insert, update, delete, truncate')
          or has_any_column_privilege(t.oid, c.oid, 'insert, update'))
      from pg_class c join ours on ours.oid = c.relnamespace cross join tenant t
      where c.relkind in ('r', 'p', 'f', 'v', 'm') group by c.oid
    ), open_policy (polrelid) as (
      -- Applies to tenants, by name or through PUBLIC, and does not check the context.
      select p.polrelid from pg_policy p
      where p.polpermissive and exists (
          select from tenant t cross join unnest(p.polroles) as role (oid)
          where role.oid = 0 or (t.oid <> 0 and pg_has_role(t.oid, role.oid, 'usage')))
        and not (coalesce(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) ~ ${context}
          and coalesce(pg_get_expr(p.polwithcheck, p.polrelid), pg_get_expr(p.polqual, p.polrelid)) ~ ${context})
    )
    select c.oid::regclass::text as name
    from pg_class c join ours on ours.oid = c.relnamespace join may on may.relation = c.oid
    where c.relkind in ('r', 'p', 'f')
      and (may.writes
        or exists (select from pg_attribute a
          where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped)
        or exists (select from pg_constraint f
          where f.conrelid = c.oid and f.contype = 'f' and f.confrelid in (select oid from registered))
        or c.oid in (select oid from registered))
      and not (c.relrowsecurity and c.relforcerowsecurity
        and exists (select from pg_policy p where p.polrelid = c.oid)
        and c.oid not in (select polrelid from open_policy)
        -- With roles, a table of the system needs none: its tenants have no right to write.
        and (not may.writes and (select m.uses_roles from purser.tenancy_mode() m)
            and exists (select from purser.protected_tables t
              where to_regclass(t.table_name) = c.oid and t.tenant_rights = '')
          or exists (select from pg_trigger t
            where t.tgrelid = c.oid and t.tgname = 'require_context' and t.tgenabled in ('O', 'A'))))
      and (1259::oid, c.oid) not in (select classid, objid from of_extension)
    union all
    select c.oid::regclass::text
    from pg_class c join ours on ours.oid = c.relnamespace join may on may.relation = c.oid
    where (c.relkind = 'm' or (c.relkind = 'v'
        and not coalesce(c.reloptions, '{}') && array['security_invoker=true', 'security_invoker=on']))
      and (may.reads or may.writes)
      and (1259::oid, c.oid) not in (select classid, objid from of_extension)
    union all
    select p.oid::regprocedure::text
    from pg_proc p join ours on ours.oid = p.pronamespace
    where p.prosecdef and case when p.pronamespace = 'purser'::regnamespace
        then not coalesce(p.proconfig, '{}') @> array['search_path=pg_catalog, public, purser, pg_temp']
        -- A search_path without pg_temp searches it first.
        else exists (select from tenant t where has_function_privilege(t.oid, p.oid, 'execute'))
          and (array_to_string(p.proconfig, ';') ~ '(^|;)search_path=(""|.*pg_temp)(;|$)' is not true
            or p.oid not in (select f.oid from purser.tenant_functions t, to_regprocedure(t.signature) as f (oid)
              where f.oid is not null)) end
      and (1255::oid, p.oid) not in (select classid, objid from of_extension)
    union all
    select format('schema %1$I (revoke create on schema %1$I from public)', n.nspname)
    from pg_namespace n
    where n.nspname in ('public', 'purser')
      and exists (select from tenant t where has_schema_privilege(t.oid, n.oid, 'create'))
    order by 1`;
  return rows.map(({ name }) => name);
}
