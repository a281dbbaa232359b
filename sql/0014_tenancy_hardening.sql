-- What hostile SQL of a handler could still do to others, found by trying it, and no more:
-- `drop owned by purser_tenant` is allowed to every member of that role and took all policies that name it
-- away, so they name nobody; an id of one's own choice (`overriding system value`) could be one that another
-- tenant's next row would get; a key without the tenant in it told whether another tenant's row is there.

alter table public.ingest_chunks drop constraint ingest_chunks_pkey, add primary key (upload_id, seq, tenant_id);
alter table public.ingest_errors drop constraint ingest_errors_pkey, add primary key (upload_id, line, tenant_id);
alter table public.cost_records drop constraint cost_records_pkey, add primary key (delivery_id, line, tenant_id);

-- Its rows hold the tokens of running attempts.
select purser.protect_table('purser.job_leases', '', 'job_id');

-- The columns of a table that a tenant may write: not the ids that the database gives, and no row changes hands.
create function purser.tenant_columns(p_table text, p_tenant_column text, p_verb text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
  from pg_attribute a
  where a.attrelid = p_table::regclass and a.attnum > 0 and not a.attisdropped
    and a.attidentity = '' and a.attgenerated = ''
    and (p_verb = 'insert' or a.attname <> p_tenant_column)
$$;

-- TRUNCATE knows no rows: at L1, where the login owns the tables, it would be everybody's.
create or replace function purser.require_context() returns trigger language plpgsql as $$
begin
  if purser.acts_for_tenant() then
    if tg_op = 'TRUNCATE' then
      raise exception 'truncate takes the rows of every tenant: it is refused' using errcode = '42501',
        hint = 'Delete your own rows instead.';
    elsif tg_table_name = 'tenants' and tg_op = 'INSERT' and not purser.has_token()
       and not (select t.uses_roles from purser.tenancy_mode() t) then
      return null;
    end if;
    perform purser.current_tenant();
  end if;
  return null;
end
$$;

-- Idempotent; run after every migration. p_uses_roles: whether the roles exist and the login holds them.
create or replace function purser.apply_tenancy(p_uses_roles boolean) returns void language plpgsql as $$
declare
  v_table record;
  v_function record;
  v_verb text;
  v_own text;
  v_exempt text;
begin
  update purser.tenancy set uses_roles = p_uses_roles;
  for v_table in select * from purser.protected_tables order by table_name loop
    execute format('alter table %s enable row level security, force row level security', v_table.table_name);
    execute format('drop policy if exists tenant_access on %s', v_table.table_name);
    execute format('drop policy if exists system_access on %s', v_table.table_name);
    v_own := format('%I = (select purser.current_tenant())', v_table.tenant_column);
    if p_uses_roles then
      execute format('create policy system_access on %s to purser_system using (true) with check (true)',
        v_table.table_name);
      execute format('revoke all on %s from public, purser_tenant', v_table.table_name);
      execute format('grant all on %s to purser_system', v_table.table_name);
      if v_table.tenant_rights <> '' then
        -- To nobody by name: see above. For the system it is `true or ...`, which the planner leaves out.
        execute format('create policy tenant_access on %s using (%s) with check (%s)',
          v_table.table_name, v_own, v_own);
        foreach v_verb in array string_to_array(replace(lower(v_table.tenant_rights), ' ', ''), ',') loop
          if v_verb in ('insert', 'update') then
            execute format('grant %s (%s) on %s to purser_tenant', v_verb,
              purser.tenant_columns(v_table.table_name, v_table.tenant_column, v_verb), v_table.table_name);
          else
            execute format('grant %s on %s to purser_tenant', v_verb, v_table.table_name);
          end if;
        end loop;
      end if;
    elsif v_table.tenant_rights = '' then
      execute format('create policy system_access on %s using ((select purser.is_system())) '
        'with check ((select purser.is_system()))', v_table.table_name);
    else
      -- An administrator's plain insert of a tenant needs no token. One policy with a CASE, because of
      -- several policies the one that raises may be asked first.
      v_exempt := case when v_table.table_name = 'public.tenants' then ' or not (select purser.has_token())' else '' end;
      execute format('create policy tenant_access on %s using (case when (select purser.is_system()) then true else %s end) '
        'with check (case when (select purser.is_system())%s then true else %s end)',
        v_table.table_name, v_own, v_exempt, v_own);
    end if;
    execute format('create or replace trigger require_context before insert or update or delete or truncate '
      'on %s for each statement execute function purser.require_context()', v_table.table_name);
  end loop;

  for v_function in
    select p.oid::regprocedure::text as signature
    from pg_proc p where p.pronamespace = 'purser'::regnamespace
  loop
    execute format('revoke all on function %s from public', v_function.signature);
    if p_uses_roles then
      execute format('revoke all on function %s from purser_tenant', v_function.signature);
      execute format('grant execute on function %s to purser_system', v_function.signature);
    end if;
  end loop;
  if p_uses_roles then
    grant usage on schema purser, public to purser_tenant, purser_system;
    grant all on all tables in schema purser to purser_system;
    for v_table in
      select t as table_name from unnest(array['public.plans', 'public.job_types', 'public.schedules',
        'public.heartbeats']) t where to_regclass(t) is not null
    loop
      execute format('grant all on %s to purser_system', v_table.table_name);
    end loop;
    for v_function in select signature from purser.tenant_functions loop
      execute format('grant execute on function %s to purser_tenant', v_function.signature);
    end loop;
  end if;
end
$$;
