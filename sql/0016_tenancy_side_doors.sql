-- What hostile SQL could still learn or stop without a right of its own, found by trying it, and no more.

-- The planner's statistics are of all tenants' rows, and EXPLAIN tells them to whoever may select: sampled
-- values of others can be found out estimate by estimate. So none are gathered where tenants may read. Every
-- query there goes by an index that begins with the tenant, which takes no statistics to be chosen.
create function purser.hide_statistics() returns void language plpgsql as $$
declare
  v_column record;
begin
  for v_column in
    with recursive readable (oid) as (
      select t.table_name::regclass::oid from purser.protected_tables t where t.tenant_rights <> ''
      union select i.inhrelid from pg_inherits i join readable r on r.oid = i.inhparent
    )
    -- Of an index only expressions have statistics of their own.
    select c.oid::regclass as name, c.relnamespace::regnamespace::text as schema_name, c.relname::text,
      a.attname::text, case when c.relkind in ('i', 'I') then 'index' else 'table' end as kind,
      case when c.relkind in ('i', 'I') then a.attnum::text else quote_ident(a.attname) end as place
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_index i on i.indexrelid = c.oid
    where a.attstattarget is distinct from 0
      and (c.oid in (select oid from readable)
        or i.indrelid in (select oid from readable) and i.indkey[a.attnum - 1] = 0 and a.attnum <= i.indnkeyatts)
  loop
    execute format('alter %s %s alter column %s set statistics 0', v_column.kind, v_column.name, v_column.place);
    if current_setting('server_version_num')::integer >= 180000 then
      execute 'select pg_catalog.pg_clear_attribute_stats($1, $2, $3, of_children) from unnest(array[false, true]) of_children'
      using v_column.schema_name, v_column.relname, v_column.attname;
    end if;
  end loop;
end
$$;

alter function purser.apply_tenancy(boolean) rename to put_policies;

-- Idempotent; run after every migration. p_uses_roles: whether the roles exist and the login holds them.
create function purser.apply_tenancy(p_uses_roles boolean) returns void language plpgsql as $$
begin
  perform purser.put_policies(p_uses_roles);
  perform purser.hide_statistics();
end
$$;

-- What is counted over all tenants' jobs (for how long the oldest waits) has no answer where one of them waits
-- since minus infinity, and dates that a process reads end before Postgres's do.
alter table public.background_jobs add constraint scheduled_for_is_a_date
  check (isfinite(scheduled_for) and scheduled_for < '10000-01-01 00:00:00+00') not valid;
