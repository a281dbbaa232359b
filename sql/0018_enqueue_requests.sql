-- What a request may not hold is refused in its own words, for callers of every language: the table would name a
-- constraint, and a window or a date without an end was taken.
-- SQLSTATE: PU010 invalid_request.

-- What is wrong with a request; null where nothing is.
create function purser.request_fault(p_dedup_key text, p_priority integer, p_run_at timestamptz, p_dedup_window interval)
returns text language sql stable set search_path = pg_catalog, pg_temp as $$
  select case
    when p_priority is null or p_priority not between -1000 and 1000
      then 'the priority must be a whole number from -1000 to 1000'
    when length(p_dedup_key) not between 1 and 500
      then format('the dedup key must have 1 to 500 characters; it has %s', length(p_dedup_key))
    when not isfinite(p_run_at) or p_run_at >= '9999-01-01 00:00:00+00'
      then 'the time to run at must be a date before the year 9999'
    when p_dedup_window is null or p_dedup_window < interval '0' or p_dedup_window > interval '10 years'
      then 'the dedup window must be from nothing to 10 years'
  end
$$;

create or replace function purser.enqueue(
  p_tenant_id text,
  p_job_type text,
  p_payload jsonb default '{}',
  p_dedup_key text default null,
  p_run_at timestamptz default null,
  p_priority integer default 0,
  p_dedup_window interval default '24 hours',
  p_detail jsonb default '{}',
  p_on_duplicate text default 'ignore',
  out job_id bigint,
  out created boolean,
  out replaced boolean
) language plpgsql volatile security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_type public.job_types;
  v_run_at timestamptz := coalesce(p_run_at, now());
  v_fault text := purser.request_fault(p_dedup_key, p_priority, p_run_at, p_dedup_window);
begin
  if v_fault is not null then
    raise exception 'invalid_request: %', v_fault using errcode = 'PU010';
  end if;
  select * into v_type from public.job_types t where t.job_type = p_job_type;
  if not found then
    raise exception 'unknown_job_type: no job type "%"', left(p_job_type, 100) using errcode = 'PU004',
      hint = 'Types are registered by "purser migrate up" and by workers that load PURSER_HANDLERS.';
  end if;
  perform 1 from public.tenants t where t.id = p_tenant_id for key share;
  if not found then
    raise exception 'unknown_tenant: no tenant "%"', left(p_tenant_id, 200) using errcode = 'PU003',
      hint = 'Add it first: purser tenants add ID --plan PLAN.';
  end if;
  if jsonb_typeof(p_payload) is distinct from 'object' then
    raise exception 'invalid_payload: the payload of % must be a JSON object', p_job_type using errcode = 'PU007';
  end if;
  if octet_length(p_payload::text) > 1048576 then
    raise exception 'payload_too_large: the payload of % has % bytes, at most 1048576 are taken', p_job_type,
      octet_length(p_payload::text) using errcode = 'PU005',
      hint = 'Store the data and pass its id.';
  end if;

  job_id := nextval(pg_get_serial_sequence('public.background_jobs', 'id'));
  created := true;
  replaced := false;
  if p_on_duplicate not in ('ignore', 'replace', 'reject') then
    raise exception 'invalid_payload: on duplicate must be ignore, replace or reject' using errcode = 'PU007';
  end if;
  if p_dedup_key is not null then
    insert into public.job_keys as k (tenant_id, job_type, dedup_key, job_id, expires_at)
    values (p_tenant_id, p_job_type, p_dedup_key, enqueue.job_id, now() + p_dedup_window)
    on conflict on constraint job_keys_pkey do update
      set job_id = excluded.job_id, expires_at = excluded.expires_at
      where k.expires_at <= now()
        and not exists (select from public.background_jobs j where j.id = k.job_id and j.finished_at is null);
    if not found then
      created := false;
      select k.job_id into enqueue.job_id from public.job_keys k
      where k.tenant_id = p_tenant_id and k.job_type = p_job_type and k.dedup_key = p_dedup_key;
      if p_on_duplicate = 'reject' then
        raise exception 'duplicate_job: job % of type % has the dedup key "%"', enqueue.job_id, p_job_type, p_dedup_key
          using errcode = 'PU008', hint = 'Wait until it has ended and its window is over, or ignore it.';
      elsif p_on_duplicate = 'replace' then
        update public.background_jobs j
        set payload = p_payload, priority = p_priority, scheduled_for = v_run_at,
            give_up_at = v_run_at + v_type.give_up_after_ms * interval '1 millisecond'
        where j.id = enqueue.job_id and j.state in ('pending', 'failed');
        replaced := found;
      end if;
      return;
    end if;
  end if;
  insert into public.background_jobs
    (id, tenant_id, job_type, payload, dedup_key, max_attempts, priority, scheduled_for, give_up_at, state_detail)
  values (enqueue.job_id, p_tenant_id, p_job_type, p_payload, p_dedup_key, v_type.max_attempts, p_priority,
    v_run_at, v_run_at + v_type.give_up_after_ms * interval '1 millisecond', p_detail);
end
$$;

create or replace function purser.enqueue_many(p_requests jsonb)
returns table (place bigint, job_id bigint, created boolean)
language plpgsql volatile security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_bad record;
begin
  if jsonb_typeof(p_requests) is distinct from 'array' then
    raise exception 'invalid_request: the requests must be a JSON array of objects' using errcode = 'PU010';
  end if;
  select r.place, r.tenant_id, r.job_type, t.id as known_tenant, y.job_type as known_type, r.payload,
         purser.request_fault(r.dedup_key, r.priority, r.run_at, interval '0') as fault into v_bad
  from purser.enqueue_requests(p_requests) r
  left join public.tenants t on t.id = r.tenant_id
  left join public.job_types y on y.job_type = r.job_type
  where t.id is null or y.job_type is null or jsonb_typeof(r.payload) is distinct from 'object'
    or octet_length(r.payload::text) > 1048576
    or purser.request_fault(r.dedup_key, r.priority, r.run_at, interval '0') is not null
  order by r.place limit 1;
  if found then
    if v_bad.known_type is null then
      raise exception 'unknown_job_type: request %: no job type "%"', v_bad.place, left(v_bad.job_type, 100)
        using errcode = 'PU004';
    elsif v_bad.known_tenant is null then
      raise exception 'unknown_tenant: request %: no tenant "%"', v_bad.place, left(v_bad.tenant_id, 200)
        using errcode = 'PU003';
    elsif jsonb_typeof(v_bad.payload) is distinct from 'object' then
      raise exception 'invalid_payload: request %: the payload must be a JSON object', v_bad.place
        using errcode = 'PU007';
    elsif v_bad.fault is not null then
      raise exception 'invalid_request: request %: %', v_bad.place, v_bad.fault using errcode = 'PU010';
    end if;
    raise exception 'payload_too_large: request %: a payload has at most 1048576 bytes', v_bad.place
      using errcode = 'PU005';
  end if;
  return query
  with ordered as materialized (
    select r.*, row_number() over (partition by r.tenant_id, r.job_type, r.dedup_key order by r.place) as turn
    from purser.enqueue_requests(p_requests) r
    order by r.place
  ), request as materialized (
    -- Ids in the order of the requests: jobs that are due at the same time run in the order of their ids.
    select o.*, nextval(pg_get_serial_sequence('public.background_jobs', 'id')) as id from ordered o
  ), keyed as (
    insert into public.job_keys as k (tenant_id, job_type, dedup_key, job_id, expires_at)
    select r.tenant_id, r.job_type, r.dedup_key, r.id, now() + interval '24 hours'
    from request r where r.dedup_key is not null and r.turn = 1
    order by r.tenant_id, r.job_type, r.dedup_key
    on conflict on constraint job_keys_pkey do update
      set job_id = excluded.job_id, expires_at = excluded.expires_at
      where k.expires_at <= now()
        and not exists (select from public.background_jobs j where j.id = k.job_id and j.finished_at is null)
    returning k.job_id
  ), made as (
    insert into public.background_jobs
      (id, tenant_id, job_type, payload, dedup_key, max_attempts, priority, scheduled_for, give_up_at)
    select r.id, r.tenant_id, r.job_type, r.payload, r.dedup_key, y.max_attempts, r.priority, r.run_at,
           r.run_at + y.give_up_after_ms * interval '1 millisecond'
    from request r join public.job_types y on y.job_type = r.job_type
    where r.dedup_key is null or r.id in (select k.job_id from keyed k)
    returning id
  )
  select r.place, coalesce(m.id, own.id, k.job_id), m.id is not null
  from request r
  left join made m on m.id = r.id
  left join request own on m.id is null and own.turn = 1 and own.tenant_id = r.tenant_id
    and own.job_type = r.job_type and own.dedup_key = r.dedup_key and own.id in (select id from made)
  left join public.job_keys k on m.id is null and own.id is null and k.tenant_id = r.tenant_id
    and k.job_type = r.job_type and k.dedup_key = r.dedup_key
  order by r.place;
end
$$;
