-- Keys that change while the fleet works: where encrypted values stand, and the two functions that re-encrypt them, for
-- the built-in job key_rotation and nobody else. Secret fields of payloads are in 0003_jobs, the keys that each process
-- knows in 0009_heartbeats.
-- SQLSTATE: PU009 not_a_rotation.

create table purser.encrypted_columns (
  -- table.column, as in the context that the values are bound to.
  place text primary key check (place ~ '^[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$'),
  table_name text not null,
  column_name text not null,
  purpose text not null check (purpose in ('api_key', 'pii', 'generic')),
  id_column text not null,
  version_column text not null
);

-- Registers a column of tenant data for rotation. The table has a tenant_id, one column that is its key, and one that
-- says which key version opens the row. A place is one table's.
create function purser.encrypt_column(p_table text, p_column text, p_purpose text default 'generic',
  p_id_column text default 'id', p_version_column text default 'encryption_key_version')
returns void language plpgsql as $$
begin
  insert into purser.encrypted_columns as e (place, table_name, column_name, purpose, id_column, version_column)
  select c.relname || '.' || p_column, p_table, p_column, p_purpose, p_id_column, p_version_column
  from pg_catalog.pg_class c where c.oid = p_table::regclass
  on conflict (place) do update
    set table_name = excluded.table_name, purpose = excluded.purpose, id_column = excluded.id_column,
        version_column = excluded.version_column
    where coalesce(to_regclass(e.table_name) = excluded.table_name::regclass, true);
  if not found then
    raise exception 'place_taken: an encrypted column % of another table is registered under the same name', p_column
      using errcode = 'PU009', hint = 'Values are bound to table.column without the schema: rename one of them.';
  end if;
end
$$;
select purser.encrypt_column('public.aws_accounts', 'credentials', 'api_key');
select purser.encrypt_column('public.api_integrations', 'credentials', 'api_key');

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

-- The tenant of a running key_rotation attempt; any other handler is refused.
create function purser.rotating_tenant() returns text
language plpgsql stable security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_tenant_id text := purser.current_tenant();
begin
  if not exists (
    select from purser.in_flight f
    where f.job_id = purser.job_of_token(purser.token_from_session()) and f.token = purser.token_from_session()
      and f.job_type = 'key_rotation'
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

-- The next values of the tenant that another key than p_version encrypts, or whose rows do not say their key version, in
-- the order of their rows' ids. Of payloads only the sealed fields, of jobs that can still run. p_limit counts rows.
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
      select b.id, b.job_type, b.payload from public.jobs b
      where b.tenant_id = v_tenant_id and b.encryption_key_version <> p_version
        and (b.outcome is null or b.outcome = 'dead_letter') and b.id > coalesce(p_after, '0')::bigint
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
    'where t.tenant_id = $3 and t.%4$I is distinct from $4 and t.%2$I is not null and ($5 is null or t.%1$I > $5::%5$s) '
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
      update public.jobs j
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

-- Rows by place, tenant and key version (null where the row does not say it), for `purser keys`. A table that is gone is
-- not counted.
create function purser.count_encrypted_values()
returns table (place text, tenant_id text, key_version integer, value_count bigint)
language plpgsql stable
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_column purser.encrypted_columns;
begin
  for v_column in
    select * from purser.encrypted_columns c where to_regclass(c.table_name) is not null order by c.place
  loop
    return query execute format(
      'select $1, t.tenant_id, t.%1$I, count(*) from %2$s t where t.%3$I is not null group by 2, 3',
      v_column.version_column, v_column.table_name::regclass, v_column.column_name)
    using v_column.place;
  end loop;
  return query
  select 'background_jobs.payload', j.tenant_id, j.encryption_key_version, count(*)
  from public.jobs j
  where j.encryption_key_version is not null and (j.outcome is null or j.outcome = 'dead_letter')
  group by 2, 3;
end
$$;

select purser.allow_tenant('purser.key_version_to_write(jsonb,integer)');
select purser.allow_tenant('purser.values_to_rotate(text,integer,text,integer)');
select purser.allow_tenant('purser.store_rotated(text,integer,jsonb)');
