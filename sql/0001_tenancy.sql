-- The private schema, and the one place that knows how tenancy is enforced: at levels L2 and L3 by the
-- roles purser_tenant and purser_system, at level L1 (a login that may not create roles) by a session
-- marker. Migrations register their tables and functions; purser.apply_tenancy puts the policies on.
-- SQLSTATEs: PU001 rls_enforcement_failed, PU002 stale_token.

create schema if not exists purser;

create table purser.tenancy (
  singleton boolean primary key default true check (singleton),
  uses_roles boolean not null default false,
  -- Namespaces this database's entries in a Redis that other fleets use too.
  fleet_id uuid not null default gen_random_uuid()
);
insert into purser.tenancy default values;

create table purser.protected_tables (
  table_name text primary key,
  tenant_column text not null,
  tenant_rights text not null
);

create table purser.tenant_functions (
  signature text primary key
);

-- Registers a tenant table. p_tenant_rights: what purser_tenant may do with its own rows ('' for nothing).
create function purser.protect_table(p_table text, p_tenant_rights text, p_tenant_column text default 'tenant_id')
returns void language sql as $$
  insert into purser.protected_tables (table_name, tenant_column, tenant_rights)
  values (p_table, p_tenant_column, p_tenant_rights)
  on conflict (table_name) do update
    set tenant_column = excluded.tenant_column, tenant_rights = excluded.tenant_rights
$$;

create function purser.forget_table(p_table text) returns void language sql as $$
  delete from purser.protected_tables where table_name = p_table
$$;

-- Registers a function that handlers may call, by its regprocedure text.
create function purser.allow_tenant(p_signature text) returns void language sql as $$
  insert into purser.tenant_functions (signature) values (p_signature) on conflict do nothing
$$;

create function purser.disallow_tenant(p_signature text) returns void language sql as $$
  delete from purser.tenant_functions where signature = p_signature
$$;

-- Only meaningful at level L1: a system session carries purser.system = on; a definer function is
-- recognised by its pinned search_path, which Postgres restores when the function returns. It stops
-- mistakes, not malice: one login can always set either.
create function purser.is_system() returns boolean language sql stable as $$
  select coalesce(pg_catalog.current_setting('purser.system', true), '') = 'on'
      or pg_catalog.current_setting('search_path') = 'pg_catalog, public, purser, pg_temp'
$$;

create function purser.has_token() returns boolean language sql stable as $$
  select coalesce(pg_catalog.current_setting('purser.token', true), '') <> ''
$$;

-- One row per open operator's door. The token of a running attempt stands in its row of in_flight (0003_jobs). The
-- tenant role cannot read either; its only way in is purser.current_tenant().
create table purser.operator_tokens (
  token uuid primary key,
  tenant_id text not null,
  expires_at timestamptz not null,
  created_at timestamptz not null default now()
);
create index ix_operator_tokens_expires_at on purser.operator_tokens (expires_at);

-- The token of an attempt begins with the id of its job, so that its row is found by primary key; the other 64 bits
-- are random. The id of a token of another kind is the id of no job with that token.
-- Without a search path of its own, so that the planner puts it into the statements.
create function purser.job_of_token(p_token uuid) returns bigint language sql immutable as $$
  select ('x' || pg_catalog.left(pg_catalog.replace(p_token::text, '-', ''), 16))::pg_catalog.bit(64)::bigint
$$;

create function purser.token_from_session() returns uuid
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  v_token text := coalesce(current_setting('purser.token', true), '');
begin
  if v_token !~ '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' then
    raise exception 'rls_enforcement_failed: no tenant context in this transaction'
      using errcode = 'PU001', hint = 'Run tenant queries through ctx.sql or withTenant.';
  end if;
  return v_token::uuid;
end
$$;

create function purser.current_tenant() returns text
language plpgsql stable security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_token uuid := purser.token_from_session();
  v_tenant_id text;
begin
  select f.tenant_id into v_tenant_id from purser.in_flight f
  where f.job_id = purser.job_of_token(v_token) and f.token = v_token;
  if v_tenant_id is null then
    select o.tenant_id into v_tenant_id from purser.operator_tokens o
    where o.token = v_token and o.expires_at > clock_timestamp();
  end if;
  if v_tenant_id is null then
    raise exception 'rls_enforcement_failed: the tenant context is forged or no longer valid'
      using errcode = 'PU001', hint = 'The attempt ended or was taken over; its effects are refused.';
  end if;
  return v_tenant_id;
end
$$;

-- Last statement of every tenant transaction. FOR KEY SHARE: whoever ends the attempt deletes the row and so waits for
-- this commit, or was first, and then nothing is found here; a renewal of the lease and a wish to cancel do not wait.
create function purser.commit_fence() returns void
language plpgsql volatile security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_token uuid := purser.token_from_session();
begin
  perform from purser.in_flight f
  where f.job_id = purser.job_of_token(v_token) and f.token = v_token
  for key share;
  if not found then
    perform from purser.operator_tokens o where o.token = v_token and o.expires_at > clock_timestamp() for key share;
  end if;
  if not found then
    raise exception 'stale_token: this attempt ended or was taken over; its effects are rolled back'
      using errcode = 'PU002';
  end if;
end
$$;

create function purser.acts_for_tenant() returns boolean language plpgsql stable as $$
begin
  if (select t.uses_roles from purser.tenancy_mode() t) then
    return pg_catalog.pg_has_role(current_user, 'purser_tenant', 'member')
       and not pg_catalog.pg_has_role(current_user, 'purser_system', 'member');
  end if;
  return not purser.is_system();
end
$$;

create function purser.tenancy_mode() returns table (uses_roles boolean, fleet_id uuid)
language sql stable security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
  select t.uses_roles, t.fleet_id from purser.tenancy t
$$;

-- BEFORE STATEMENT on every table that tenant code may write: a write without a context fails even when it meets no row.
-- At L1 an administrator's plain insert into tenants must work, so a session without any token may.
-- TRUNCATE knows no rows: at L1, where the login owns the tables, it would be everybody's.
create function purser.require_context() returns trigger language plpgsql as $$
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

create function purser.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only: % is refused', tg_table_name, lower(tg_op) using errcode = '42501';
end
$$;

-- Transactions of tenants that the sweep ended because of a lock: their attempt is told so, and it counts. Without
-- this the loss of the session would look like an outage, and the job would take the same lock again, for ever.
-- Not logged: the rows matter for seconds.
create unlogged table purser.broken_locks (
  pid integer not null,
  xact_start timestamptz not null,
  -- For people: what the session held.
  lock text not null,
  broken_at timestamptz not null default now(),
  primary key (pid, xact_start)
);

-- The lock of a transaction of this server process that began at p_since (seconds since 1970) or later.
create function purser.broken_lock(p_pid integer, p_since numeric) returns text
language plpgsql stable security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  perform purser.current_tenant();
  return (
    select b.lock from purser.broken_locks b
    where b.pid = p_pid and extract(epoch from b.xact_start) >= p_since
    order by b.xact_start limit 1);
end
$$;

-- The columns of a table that a tenant may write: not the ids that the database gives (an id of one's own choice could
-- be the one that another tenant's next row would get), and no row changes hands.
create function purser.tenant_columns(p_table text, p_tenant_column text, p_verb text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
  from pg_attribute a
  where a.attrelid = p_table::regclass and a.attnum > 0 and not a.attisdropped
    and a.attidentity = '' and a.attgenerated = ''
    and (p_verb = 'insert' or a.attname <> p_tenant_column)
$$;

-- Puts policies, grants and the write guard on every registered table. Policies for tenants name no role: `drop owned
-- by purser_tenant`, which every member of that role may run, takes away all policies that name it.
create function purser.put_policies(p_uses_roles boolean) returns void language plpgsql as $$
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
        -- To nobody by name. For the system it is `true or ...`, which the planner leaves out.
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
    if p_uses_roles and v_table.tenant_rights = '' then
      -- The tenant role may not write there at all; the trigger would cost the system's statements time.
      execute format('drop trigger if exists require_context on %s', v_table.table_name);
    else
      execute format('create or replace trigger require_context before insert or update or delete or truncate '
        'on %s for each statement execute function purser.require_context()', v_table.table_name);
    end if;
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

-- Idempotent; run after every migration. p_uses_roles: whether the roles exist and the login holds them.
create function purser.apply_tenancy(p_uses_roles boolean) returns void language plpgsql as $$
begin
  perform purser.put_policies(p_uses_roles);
  perform purser.hide_statistics();
end
$$;

select purser.protect_table('purser.operator_tokens', '');
select purser.allow_tenant('purser.token_from_session()');
select purser.allow_tenant('purser.current_tenant()');
select purser.allow_tenant('purser.commit_fence()');
select purser.allow_tenant('purser.acts_for_tenant()');
select purser.allow_tenant('purser.tenancy_mode()');
select purser.allow_tenant('purser.has_token()');
select purser.allow_tenant('purser.is_system()');
select purser.allow_tenant('purser.require_context()');
select purser.allow_tenant('purser.refuse_change()');
select purser.allow_tenant('purser.broken_lock(integer,numeric)');
