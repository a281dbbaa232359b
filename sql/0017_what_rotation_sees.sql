-- What keeps an old key needed, and what does not. Rows that do not say their key version are rotated and counted.
-- A payload needs the keys of the secret fields of its type: any tenant's payload may hold what looks like a
-- token. A plain value in a secret field is refused also where the job has another one from before its field was
-- marked. A payload may be sealed before the database is told which fields its type seals: then it is looked at again.
-- A place is one table's, and a table that is gone is not counted.

create or replace function purser.encrypt_column(p_table text, p_column text, p_purpose text default 'generic',
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

-- The tokens of the sealed fields at these paths.
create function purser.sealed_tokens(p_payload jsonb, p_paths text[]) returns setof jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select t from unnest(p_paths) p (path)
  cross join lateral jsonb_path_query(p_payload, (p.path || '."$secret"')::jsonpath, '{}', true) t
$$;

-- The oldest key version among the sealed fields at these paths.
create function purser.payload_key_version(p_payload jsonb, p_paths text[]) returns integer
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select min(substring(t #>> '{}' from '^v2\.([1-9][0-9]{0,8})\.')::integer)
  from purser.sealed_tokens(p_payload, p_paths) t
$$;

-- The values that stand plain at these paths.
create function purser.plain_secrets(p_payload jsonb, p_paths text[]) returns table (path text, value jsonb)
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select p.path, v from unnest(p_paths) p (path)
  cross join lateral jsonb_path_query(p_payload, p.path::jsonpath, '{}', true) v
  where case when jsonb_typeof(v) = 'object'
    then coalesce(v->>'$secret', '') !~ '^v2\.[1-9][0-9]{0,8}\.[A-Za-z0-9_-]+$' or v - '$secret' <> '{}'
    else true end
$$;

create or replace function purser.seal_inserted_payloads() returns trigger
language plpgsql set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_bad record;
begin
  if not exists (select from new_rows n join public.job_types y using (job_type) where y.secret_paths <> '{}') then
    return null;
  end if;
  for v_bad in
    select n.job_type, v.path
    from new_rows n join public.job_types y using (job_type)
    cross join lateral purser.plain_secrets(n.payload, y.secret_paths) v where y.secret_paths <> '{}'
    limit 1
  loop
    perform purser.refuse_plain_secret(v_bad.job_type, v_bad.path);
  end loop;
  update public.background_jobs j set encryption_key_version = v.version
  from new_rows n join public.job_types y using (job_type)
  cross join lateral purser.payload_key_version(n.payload, y.secret_paths) v (version)
  where j.id = n.id and y.secret_paths <> '{}' and v.version is not null;
  return null;
end
$$;

create or replace function purser.seal_updated_payload() returns trigger
language plpgsql set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_paths text[] := (select y.secret_paths from public.job_types y where y.job_type = new.job_type);
  v_path text := (
    select n.path from purser.plain_secrets(new.payload, v_paths) n
    where not exists (
      select from purser.plain_secrets(old.payload, v_paths) o where o.path = n.path and o.value = n.value)
    limit 1);
begin
  if v_path is not null then
    perform purser.refuse_plain_secret(new.job_type, v_path);
  end if;
  new.encryption_key_version := purser.payload_key_version(new.payload, v_paths);
  return new;
end
$$;

create or replace function purser.values_to_rotate(p_place text, p_version integer, p_after text, p_limit integer)
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
    'where t.tenant_id = $3 and t.%4$I is distinct from $4 and t.%2$I is not null and ($5 is null or t.%1$I > $5::%5$s) '
    'order by t.%1$I limit $6',
    v_column.id_column, v_column.column_name, v_column.table_name::regclass, v_column.version_column,
    purser.type_of_column(v_column.table_name, v_column.id_column))
  using v_column.place, v_column.purpose, v_tenant_id, p_version, p_after, p_limit;
end
$$;

create or replace function purser.count_encrypted_values()
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
  from public.background_jobs j
  where j.encryption_key_version is not null and j.state not in ('completed', 'cancelled')
  group by 2, 3;
end
$$;

create function purser.see_sealed_payloads() returns trigger
language plpgsql set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  update public.background_jobs j set encryption_key_version = v.version
  from (
    select b.id, v.version
    from public.background_jobs b
    cross join lateral purser.payload_key_version(b.payload, new.secret_paths) v (version)
    where b.job_type = new.job_type and b.state not in ('completed', 'cancelled')
      and v.version is not null and v.version is distinct from b.encryption_key_version
    order by b.id for no key update of b
  ) v
  where j.id = v.id;
  return null;
end
$$;
create trigger see_sealed after update of secret_paths on public.job_types for each row
  when (new.secret_paths is distinct from old.secret_paths and new.secret_paths <> '{}')
  execute function purser.see_sealed_payloads();

drop function purser.plain_secret(jsonb, text[]);
drop function purser.payload_key_version(jsonb);
