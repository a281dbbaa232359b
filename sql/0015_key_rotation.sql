-- Keys that change while the fleet works: which keys each process knows, where encrypted values stand, and
-- the two functions that re-encrypt them, for the built-in job key_rotation and nobody else. Payload fields
-- that a job type marks as secret are stored encrypted or not at all.
-- SQLSTATE: PU007 invalid_payload (see 0003_jobs), PU009 not_a_rotation.

alter table public.heartbeats
  -- By key version, a mark of the key that the process knows under it; empty without ENCRYPTION_KEY.
  add column known_keys jsonb not null default '{}',
  add column primary_key_version integer;

-- JSON paths of the payload fields that are secret.
alter table public.job_types add column secret_paths text[] not null default '{}';

-- The oldest key that a payload needs; null where it has no secrets.
alter table public.background_jobs add column encryption_key_version integer;
create index ix_background_jobs_encryption_key_version on public.background_jobs (tenant_id, encryption_key_version, id)
  where encryption_key_version is not null and state not in ('completed', 'cancelled');

create table purser.encrypted_columns (
  -- table.column, as in the context that the values are bound to.
  place text primary key check (place ~ '^[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$'),
  table_name text not null,
  column_name text not null,
  purpose text not null check (purpose in ('api_key', 'pii', 'generic')),
  id_column text not null,
  version_column text not null
);

-- Registers a column of tenant data for rotation. The table has a tenant_id, one column that is its key, and
-- one that says which key version opens the row.
create function purser.encrypt_column(p_table text, p_column text, p_purpose text default 'generic',
  p_id_column text default 'id', p_version_column text default 'encryption_key_version')
returns void language sql as $$
  insert into purser.encrypted_columns (place, table_name, column_name, purpose, id_column, version_column)
  select c.relname || '.' || p_column, p_table, p_column, p_purpose, p_id_column, p_version_column
  from pg_catalog.pg_class c where c.oid = p_table::regclass
  on conflict (place) do update
    set table_name = excluded.table_name, purpose = excluded.purpose, id_column = excluded.id_column,
        version_column = excluded.version_column
$$;
select purser.encrypt_column('public.aws_accounts', 'credentials', 'api_key');
select purser.encrypt_column('public.api_integrations', 'credentials', 'api_key');
create index ix_aws_accounts_tenant_id_id on public.aws_accounts (tenant_id, id);
create index ix_api_integrations_tenant_id_id on public.api_integrations (tenant_id, id);

-- The version that a process may write with: its primary once every living process that has keys knows that
-- very key, until then the newest of its keys that all of them know. Null where they share none.
create function purser.key_version_to_write(p_marks jsonb, p_primary integer) returns integer
language sql stable security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
  select m.version
  from (select key::integer as version, value as mark from jsonb_each_text(p_marks)) m
  where not exists (
    select from public.heartbeats h
    where h.known_keys <> '{}' and h.beat_at > now() - interval '60 seconds'
      and h.known_keys->>m.version::text is distinct from m.mark)
  order by m.version = p_primary desc, m.version desc
  limit 1
$$;

-- The oldest key version among the sealed fields of a payload.
create function purser.payload_key_version(p_payload jsonb) returns integer
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select min(substring(t #>> '{}' from '^v2\.([1-9][0-9]{0,8})\.')::integer)
  from jsonb_path_query(p_payload, '$.**."$secret"') t
$$;

-- The first path at which a payload has something else than a sealed field.
create function purser.plain_secret(p_payload jsonb, p_paths text[]) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select p.path from unnest(p_paths) p (path)
  where exists (
    select from jsonb_path_query(p_payload, p.path::jsonpath, '{}', true) v
    where case when jsonb_typeof(v) = 'object'
      then coalesce(v->>'$secret', '') !~ '^v2\.[1-9][0-9]{0,8}\.[A-Za-z0-9_-]+$' or v - '$secret' <> '{}'
      else true end)
  limit 1
$$;

create function purser.refuse_plain_secret(p_job_type text, p_path text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'invalid_payload: payload of %: % is a secret field and must be encrypted', p_job_type, p_path
    using errcode = 'PU007',
      hint = 'Enqueue it through the client with a keyring, ctx.enqueue or "purser enqueue", which encrypt it.';
end
$$;

create function purser.seal_inserted_payloads() returns trigger
language plpgsql set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_bad record;
begin
  if not exists (select from new_rows n join public.job_types y using (job_type) where y.secret_paths <> '{}') then
    return null;
  end if;
  for v_bad in
    select n.job_type, purser.plain_secret(n.payload, y.secret_paths) as path
    from new_rows n join public.job_types y using (job_type) where y.secret_paths <> '{}'
  loop
    if v_bad.path is not null then
      perform purser.refuse_plain_secret(v_bad.job_type, v_bad.path);
    end if;
  end loop;
  update public.background_jobs j set encryption_key_version = purser.payload_key_version(n.payload)
  from new_rows n join public.job_types y using (job_type)
  where j.id = n.id and y.secret_paths <> '{}' and purser.payload_key_version(n.payload) is not null;
  return null;
end
$$;
create trigger seal_inserted after insert on public.background_jobs
  referencing new table as new_rows for each statement execute function purser.seal_inserted_payloads();

create function purser.seal_updated_payload() returns trigger
language plpgsql set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_paths text[] := (select y.secret_paths from public.job_types y where y.job_type = new.job_type);
  v_path text := purser.plain_secret(new.payload, v_paths);
begin
  if v_path is not null and v_path is distinct from purser.plain_secret(old.payload, v_paths) then
    perform purser.refuse_plain_secret(new.job_type, v_path);
  end if;
  new.encryption_key_version := purser.payload_key_version(new.payload);
  return new;
end
$$;
create trigger seal_updated before update of payload on public.background_jobs
  for each row execute function purser.seal_updated_payload();

-- The tenant of a running key_rotation attempt; any other handler is refused.
create function purser.rotating_tenant() returns text
language plpgsql stable security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_tenant_id text := purser.current_tenant();
begin
  if not exists (
    select from purser.context_tokens t join public.background_jobs j on j.id = t.job_id
    where t.token = purser.token_from_session() and j.job_type = 'key_rotation'
  ) then
    raise exception 'not_a_rotation: encrypted values are rewritten by key_rotation jobs only'
      using errcode = 'PU009', hint = 'Start them with: purser keys rotate.';
  end if;
  return v_tenant_id;
end
$$;

create function purser.encrypted_column(p_place text) returns purser.encrypted_columns
language plpgsql stable security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_column purser.encrypted_columns;
begin
  select * into v_column from purser.encrypted_columns c where c.place = p_place;
  if not found then
    raise exception 'unknown_column: no encrypted column "%"', left(p_place, 130) using errcode = 'PU009';
  end if;
  return v_column;
end
$$;

create function purser.type_of_column(p_table text, p_column text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format_type(a.atttypid, a.atttypmod) from pg_attribute a
  where a.attrelid = p_table::regclass and a.attname = p_column
$$;

-- The next values of the tenant that another key than p_version encrypts, in the order of their rows' ids. Of
-- payloads only the sealed fields, of jobs that can still run. p_limit counts rows.
create function purser.values_to_rotate(p_place text, p_version integer, p_after text, p_limit integer)
returns table (row_id text, place text, purpose text, token text)
language plpgsql stable security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_tenant_id text := purser.rotating_tenant();
  v_column purser.encrypted_columns;
begin
  if p_place = 'background_jobs.payload' then
    return query
    select j.id::text, 'job_payload.' || j.job_type, 'generic', s.token
    from (
      select b.id, b.job_type, b.payload from public.background_jobs b
      where b.tenant_id = v_tenant_id and b.encryption_key_version <> p_version
        and b.state not in ('completed', 'cancelled') and b.id > coalesce(p_after, '0')::bigint
      order by b.id limit p_limit
    ) j
    cross join lateral (
      select distinct t #>> '{}' as token from jsonb_path_query(j.payload, '$.**."$secret"') t
    ) s
    where s.token not like format('v2.%s.%%', p_version)
    order by j.id;
    return;
  end if;
  v_column := purser.encrypted_column(p_place);
  return query execute format(
    'select t.%1$I::text, $1, $2, t.%2$I from %3$s t '
    'where t.tenant_id = $3 and t.%4$I <> $4 and t.%2$I is not null and ($5 is null or t.%1$I > $5::%5$s) '
    'order by t.%1$I limit $6',
    v_column.id_column, v_column.column_name, v_column.table_name::regclass, v_column.version_column,
    purser.type_of_column(v_column.table_name, v_column.id_column))
  using v_column.place, v_column.purpose, v_tenant_id, p_version, p_after, p_limit;
end
$$;

-- Puts re-encrypted values in place of those they were made from; what was changed meanwhile stays as it is.
-- p_values: [{rowId, token, rotated}]. Returns how many were replaced.
create function purser.store_rotated(p_place text, p_version integer, p_values jsonb) returns integer
language plpgsql volatile security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_tenant_id text := purser.rotating_tenant();
  v_column purser.encrypted_columns;
  v_value record;
  v_replaced integer := 0;
  v_rows integer;
begin
  if exists (
    select from jsonb_to_recordset(p_values) as r ("rowId" text, token text, rotated text)
    where r.rotated !~ format('^v2\.%s\.[A-Za-z0-9_-]+$', p_version) or r.rotated is null
  ) then
    raise exception 'not_a_rotation: a value is no token of key version %', p_version using errcode = 'PU009';
  end if;
  if p_place = 'background_jobs.payload' then
    for v_value in
      select * from jsonb_to_recordset(p_values) as r ("rowId" bigint, token text, rotated text) order by 1
    loop
      -- Tokens have no character that JSON escapes, and each is a text of its own.
      update public.background_jobs j
      set payload = replace(j.payload::text, format('"%s"', v_value.token), format('"%s"', v_value.rotated))::jsonb
      where j.id = v_value."rowId" and j.tenant_id = v_tenant_id
        and strpos(j.payload::text, format('"%s"', v_value.token)) > 0;
      get diagnostics v_rows = row_count;
      v_replaced := v_replaced + v_rows;
    end loop;
    return v_replaced;
  end if;
  v_column := purser.encrypted_column(p_place);
  execute format(
    'update %1$s t set %2$I = r.rotated, %3$I = $1 '
    'from jsonb_to_recordset($2) as r ("rowId" %4$s, token text, rotated text) '
    'where t.%5$I = r."rowId" and t.tenant_id = $3 and t.%2$I = r.token',
    v_column.table_name::regclass, v_column.column_name, v_column.version_column,
    purser.type_of_column(v_column.table_name, v_column.id_column), v_column.id_column)
  using p_version, p_values, v_tenant_id;
  get diagnostics v_replaced = row_count;
  return v_replaced;
end
$$;

-- Rows by place, tenant and key version, for `purser keys`.
create function purser.count_encrypted_values()
returns table (place text, tenant_id text, key_version integer, value_count bigint)
language plpgsql stable
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_column purser.encrypted_columns;
begin
  for v_column in select * from purser.encrypted_columns c order by c.place loop
    return query execute format(
      'select $1, t.tenant_id, t.%1$I, count(*) from %2$s t where t.%3$I is not null group by 2, 3',
      v_column.version_column, v_column.table_name::regclass, v_column.column_name)
    using v_column.place;
  end loop;
  return query
  select 'background_jobs.payload', j.tenant_id, j.encryption_key_version, count(*)
  from public.background_jobs j
  where j.encryption_key_version is not null and j.state not in ('completed', 'cancelled')
  group by 2, 3;
end
$$;

select purser.allow_tenant('purser.key_version_to_write(jsonb,integer)');
select purser.allow_tenant('purser.values_to_rotate(text,integer,text,integer)');
select purser.allow_tenant('purser.store_rotated(text,integer,jsonb)');
