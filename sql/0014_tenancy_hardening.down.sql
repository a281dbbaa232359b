select purser.forget_table('purser.job_leases');
drop trigger if exists require_context on purser.job_leases;
drop policy if exists system_access on purser.job_leases;
alter table purser.job_leases no force row level security, disable row level security;
drop function purser.tenant_columns(text, text, text);
alter table public.cost_records drop constraint cost_records_pkey, add primary key (delivery_id, line);
alter table public.ingest_errors drop constraint ingest_errors_pkey, add primary key (upload_id, line);
alter table public.ingest_chunks drop constraint ingest_chunks_pkey, add primary key (upload_id, seq);

-- As they were.
create or replace function purser.require_context() returns trigger language plpgsql as $$
begin
  if purser.acts_for_tenant() then
    if tg_table_name = 'tenants' and tg_op = 'INSERT' and not purser.has_token()
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
        execute format('create policy tenant_access on %s to purser_tenant using (%s) with check (%s)',
          v_table.table_name, v_own, v_own);
        execute format('grant %s on %s to purser_tenant', v_table.tenant_rights, v_table.table_name);
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
