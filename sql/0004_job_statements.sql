-- The functions on jobs: enqueue in all its forms, dispatch, and the begin and end of attempts. Dispatch and what every
-- attempt passes through have plans that do not depend on what the tables held when a session planned them: a generic
-- plan, every row found by its key. A plan that was made while background_jobs was empty would read the whole table at
-- each begin and end for as long as its session lived. Up to Postgres 17 a switched-off kind of plan costs so much that
-- the server would compile the statement at each call, hence jit = off. The pauses that dispatch obeys are in
-- 0010_operators.
-- SQLSTATEs: PU002 stale_token, PU003 unknown_tenant, PU004 unknown_job_type, PU005 payload_too_large,
-- PU007 invalid_payload, PU008 duplicate_job, PU010 invalid_request.

-- What is wrong with a request, in its own words for callers of every language; null where nothing is. The table would
-- name a constraint, and takes a window or a date without an end.
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

-- The one way in. Never talks to a queue; runs in the caller's transaction. p_dedup_window: how long the
-- key stays taken, counted from now; a key is also taken while its job has not ended. p_on_duplicate, when
-- the key is taken: 'ignore' answers with that job, 'replace' gives that job the new payload, time and
-- priority if it still waits, 'reject' raises PU008.
create function purser.enqueue(
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

create function purser.enqueue_requests(p_requests jsonb)
returns table (place bigint, tenant_id text, job_type text, payload jsonb, dedup_key text, run_at timestamptz,
  priority integer)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select e.ordinality, e.item->>'tenantId', e.item->>'jobType', coalesce(e.item->'payload', '{}'),
         e.item->>'dedupKey', coalesce((e.item->>'runAt')::timestamptz, now()),
         coalesce((e.item->>'priority')::integer, 0)
  from jsonb_array_elements(p_requests) with ordinality e (item, ordinality)
$$;

-- Many jobs in one statement, all or nothing: [{tenantId, jobType, payload?, dedupKey?, runAt?, priority?}].
-- A key that is taken, also by an earlier element, is ignored; keys are kept for 24 hours.
create function purser.enqueue_many(p_requests jsonb)
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

-- Concurrent enqueues of one process share a statement. It fails where a tenant is locked, and its requests are then
-- sent one by one: no tenant's enqueue waits for the lock of another.
create function purser.enqueue_gathered(p_requests jsonb)
returns table (place bigint, job_id bigint)
language plpgsql volatile security definer
set search_path = pg_catalog, public, purser, pg_temp
set lock_timeout = '200ms'
as $$
begin
  return query select m.place, m.job_id from purser.enqueue_many(p_requests) m;
end
$$;

-- A handler's door: the tenant is the token's, and the token has to be a running attempt's.
create function purser.enqueue_child(
  p_job_type text,
  p_payload jsonb default '{}',
  p_dedup_key text default null,
  p_run_at timestamptz default null,
  p_priority integer default 0,
  out job_id bigint,
  out created boolean
) language plpgsql volatile security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_tenant_id text := purser.current_tenant();
  v_parent bigint;
begin
  select t.job_id into v_parent from purser.context_tokens t where t.token = purser.token_from_session();
  select e.job_id, e.created into enqueue_child.job_id, enqueue_child.created
  from purser.enqueue(v_tenant_id, p_job_type, p_payload, p_dedup_key, p_run_at, p_priority,
    '24 hours', jsonb_strip_nulls(jsonb_build_object('parent', v_parent))) e;
end
$$;

-- One round of dispatch: at most p_capacities[i] jobs of p_types[i], round-robin over the tenants: every tenant's first
-- job comes before any tenant's second job, and the tenant that was served longest ago comes first. Within a tenant,
-- jobs are ordered by priority, then by due time. Jobs that are next to each other share an entry: p_chunks[i] at most,
-- and no more than leave one for each of p_workers[i] workers. One that was lost, or is large, has an entry of its own.
-- Rows and tenants that another transaction has locked are left out.
create function purser.dispatch_jobs(
  p_types text[], p_capacities integer[], p_chunks integer[], p_workers integer[], p_skipped_tenants text[],
  p_only_tenant text)
returns table (job_id bigint, job_type text, tenant_id text, entry_id uuid, was_lost boolean, priority integer)
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_sort = off set enable_incremental_sort = off set enable_bitmapscan = off
set lock_timeout = '2s' set jit = off
as $$
#variable_conflict use_column
declare
  v_types text[];
  v_skipped text[];
  v_waiting text[];
  v_tenants text[];
  v_served text[] := '{}';
  v_ids bigint[];
  v_all bigint[] := '{}';
  v_type text;
  v_room integer;
  v_share integer;
begin
  -- Claims share this lock; a pause watches it to see which claims are still open. The statements that follow
  -- have snapshots that are newer than the lock.
  lock table public.pauses in row share mode;
  if exists (select from public.pauses where scope = 'all') then
    return;
  end if;
  select array_agg(t.job_type) into v_types from unnest(p_types) as t (job_type)
  where not exists (select from public.pauses p where p.scope = 'job_type' and p.name = t.job_type);
  select p_skipped_tenants || coalesce(array_agg(p.name), '{}') into v_skipped
  from public.pauses p where p.scope = 'tenant';
  if v_types is null then
    return;
  end if;

  -- A loose index scan: one index probe per tenant, however many jobs the tenant has. Each order is the whole key of
  -- ix_background_jobs_waiting, which no other index has.
  with recursive waiting_tenant as (
    (select b.tenant_id from public.background_jobs b where b.state in ('pending', 'failed')
     order by b.tenant_id, b.job_type, b.priority desc, b.scheduled_for, b.id limit 1)
    union all
    select (select b.tenant_id from public.background_jobs b
            where b.state in ('pending', 'failed') and b.tenant_id > w.tenant_id
            order by b.tenant_id, b.job_type, b.priority desc, b.scheduled_for, b.id limit 1)
    from waiting_tenant w where w.tenant_id is not null
  )
  select array_agg(w.tenant_id) into v_waiting from waiting_tenant w where w.tenant_id is not null;
  select array_agg(t.tenant_id order by t.last_dispatched_at, t.tenant_id) into v_tenants from (
    select q.tenant_id, q.last_dispatched_at
    from unnest(v_waiting) as w (tenant_id) join public.tenant_queues q on q.tenant_id = w.tenant_id
    where q.tenant_id <> all(v_skipped) and (p_only_tenant is null or q.tenant_id = p_only_tenant)
      and exists (
        select from unnest(v_types) as y (job_type) cross join lateral (
          select from public.background_jobs b
          where b.tenant_id = q.tenant_id and b.job_type = y.job_type and b.state in ('pending', 'failed')
            and b.scheduled_for <= now()
          order by b.priority desc, b.scheduled_for, b.id limit 1) b)
    order by q.last_dispatched_at, q.tenant_id limit 200
    for no key update of q skip locked
  ) t;
  if v_tenants is null then
    return;
  end if;

  for v_type, v_room in
    select t.job_type, t.capacity from unnest(p_types, p_capacities) as t (job_type, capacity)
    where t.job_type = any(v_types)
  loop
    -- An equal share of each tenant first; all that a tenant has only if the shares leave room.
    v_share := (v_room + cardinality(v_tenants) - 1) / cardinality(v_tenants);
    loop
      select array_agg(c.id order by c.job_rank, c.tenant_rank) into v_ids from (
        select j.id, j.job_rank, t.tenant_rank
        from unnest(v_tenants) with ordinality as t (tenant_id, tenant_rank)
        cross join lateral (
          select b.id, row_number() over (order by b.priority desc, b.scheduled_for, b.id) as job_rank
          from public.background_jobs b
          where b.tenant_id = t.tenant_id and b.job_type = v_type
            and b.state in ('pending', 'failed') and b.scheduled_for <= now()
          order by b.priority desc, b.scheduled_for, b.id
          limit v_share
        ) j
        order by j.job_rank, t.tenant_rank limit v_room
      ) c;
      exit when v_share >= v_room or cardinality(v_ids) >= v_room;
      v_share := v_room;
    end loop;
    v_all := v_all || v_ids;
  end loop;
  if cardinality(v_all) = 0 then
    return;
  end if;
  for job_id, job_type, tenant_id, entry_id, was_lost, priority in
    with unlocked as materialized (
      select u.id, u.place, b.job_type, b.was_lost, b.was_lost or b.is_large as alone
      from unnest(v_all) with ordinality as u (id, place) cross join lateral (
        select b.job_type, b.losses > 0 or b.suspect as was_lost, pg_column_size(b.payload) > 32768 as is_large
        from public.background_jobs b where b.id = u.id and b.state in ('pending', 'failed')
        for no key update of b skip locked) b
    ), numbered as (
      select u.*, gen_random_uuid() as random, row_number() over (partition by u.job_type, u.alone order by u.place) - 1
          as number, count(*) over (partition by u.job_type, u.alone) as jobs
      from unlocked u
    ), entry as (
      select n.id, n.place, n.was_lost, first_value(n.random) over (partition by n.job_type, n.alone,
          n.number / case when n.alone then 1
            else greatest(1, least(c.chunk, (n.jobs + c.workers - 1) / greatest(1, c.workers))) end
          order by n.place) as entry_id
      from numbered n join unnest(p_types, p_chunks, p_workers) as c (job_type, chunk, workers)
        on c.job_type = n.job_type
    ), queued as (
      update public.background_jobs b
      set state = 'queued', dispatch_no = b.dispatch_no + 1, entry_id = e.entry_id, queued_at = now(),
          state_detail = '{}'
      from entry e where b.id = e.id
      returning e.place, e.was_lost, b.id, b.job_type, b.tenant_id, b.entry_id, b.priority
    )
    select q.id, q.job_type, q.tenant_id, q.entry_id, q.was_lost, q.priority from queued q order by q.place
  loop
    v_served := v_served || tenant_id;
    return next;
  end loop;
  update public.tenant_queues q set last_dispatched_at = now() where q.tenant_id = any(v_served);
end
$$;

-- Begins jobs whose queue entry has arrived. It compares the entry: one of a lost dispatch begins nothing and hides no
-- later one.
-- Payloads are answered as text, p_max_bytes of them: a job beyond that has no payload in the answer and has not begun.
create function purser.begin_attempts(
  p_job_ids bigint[], p_entry_ids uuid[], p_tokens uuid[], p_worker_id text, p_lease interval, p_max_bytes bigint)
returns table (job_id bigint, tenant_id text, job_type text, payload text, attempt integer, max_attempts integer,
  token uuid, suspect boolean, losses_alone integer, created_at timestamptz, scheduled_for timestamptz)
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set lock_timeout = '2s' set jit = off
as $$
#variable_conflict use_column
begin
  return query
  with found as materialized (
    -- A repeated request that waited for the first one sees its attempt. CASE hides the state from the planner.
    select j.*, r.token
    from unnest(p_job_ids, p_entry_ids, p_tokens) as r (job_id, entry_id, token)
    cross join lateral (
      select b.id, b.state, b.tenant_id, b.job_type, b.payload::text as payload, b.attempt, b.max_attempts, b.suspect,
             b.losses_alone, b.created_at, b.scheduled_for
      from public.background_jobs b
      where b.id = r.job_id and b.entry_id = r.entry_id and case b.state
        when 'queued' then true when 'running' then b.attempt_token = r.token else false end
      for no key update of b
    ) j
  ), sized as materialized (
    select f.*, row_number() over by_id = 1 or sum(octet_length(f.payload)) over by_id <= p_max_bytes as fits
    from found f window by_id as (order by f.id)
  ), begun as (
    update public.background_jobs b
    set state = 'running', attempt = b.attempt + 1, attempt_token = f.token, lease_owner = p_worker_id,
        started_at = now(), state_detail = jsonb_build_object('worker', p_worker_id)
    from sized f where b.id = f.id and f.state = 'queued' and f.fits
    returning b.id, b.tenant_id, b.job_type, f.payload, b.attempt, b.max_attempts, b.attempt_token, b.suspect,
      b.losses_alone, b.created_at, b.scheduled_for
  ), opened as (
    insert into purser.context_tokens (token, tenant_id, job_id, attempt)
    select attempt_token, tenant_id, id, attempt from begun
  ), leased as (
    insert into purser.job_leases (job_id, token, worker_id, expires_at, alone)
    select id, attempt_token, p_worker_id, now() + p_lease, suspect from begun
    on conflict (job_id) do update
      set token = excluded.token, worker_id = excluded.worker_id, expires_at = excluded.expires_at,
          alone = excluded.alone, progress = null, cancel_requested = null
  )
  select * from begun
  union all
  select f.id, f.tenant_id, f.job_type, case when f.fits then f.payload end, f.attempt, f.max_attempts, f.token,
    f.suspect, f.losses_alone, f.created_at, f.scheduled_for
  from sized f where f.state = 'running' or not f.fits;
end
$$;

-- Ends attempts: applied by this call, repeated by an earlier call with this token; a refused one is not answered.
-- p_requests is ordered by job id. Lock order: tokens, leases, jobs.
create function purser.finish_attempts(p_requests jsonb, p_crashes_of_suspect integer)
returns table (job_id bigint, result text)
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set lock_timeout = '2s' set jit = off
as $$
#variable_conflict use_column
begin
  return query
  with request as materialized (
    select * from jsonb_to_recordset(p_requests) as r (
      job_id bigint, token uuid, to_state text, result jsonb, error jsonb, scheduled_for timestamptz, delay_ms float8,
      counts boolean, detail jsonb, needed_usd numeric, suspect boolean, shared_loss int, isolated_loss int)
  ), gate as materialized (
    select r.* from request r cross join lateral (
      select from purser.context_tokens t where t.token = r.token and t.job_id = r.job_id for update of t) t
  ), closed as (
    delete from purser.context_tokens t using gate g where t.token = g.token returning g.*
  ), lease as materialized (
    select c.*, l.cancel_requested, l.cancel_requested is not null and c.to_state in ('pending', 'failed', 'parked')
        as is_cancelled
    from closed c left join lateral (
      select h.cancel_requested from purser.job_leases h
      where h.job_id = c.job_id and h.token = c.token for update of h) l on true
  ), released as (
    delete from purser.job_leases h using lease e where h.job_id = e.job_id and h.token = e.token
  ), found as materialized (
    -- After the tokens: a statement that waited for another end of the same attempt sees that end here.
    select r.job_id, j.state from request r cross join lateral (
      select b.state from public.background_jobs b
      where b.id = r.job_id and b.attempt_token = r.token for no key update of b) j
    where (select count(*) from lease) is not null
  ), ended as (
    update public.background_jobs b
    set state = case when o.is_cancelled then 'cancelled' else o.to_state end,
        result = o.result, error = coalesce(o.error, b.error),
        state_detail = case when o.is_cancelled
          then jsonb_build_object('by', o.cancel_requested->'by', 'reason', o.cancel_requested->'reason')
          else o.detail end,
        scheduled_for = coalesce(o.scheduled_for, now() + o.delay_ms * interval '1 millisecond', b.scheduled_for),
        needed_usd = o.needed_usd,
        -- A parked job may wait for two budget periods, counted from the first parking. Running time is no
        -- waiting time.
        give_up_at = case when o.to_state = 'parked' and not o.is_cancelled
          then greatest(b.give_up_at, coalesce(b.first_parked_at, now()) + interval '62 days')
          else b.give_up_at + (clock_timestamp() - b.started_at) end,
        first_parked_at = case when o.to_state = 'parked' and not o.is_cancelled
          then coalesce(b.first_parked_at, now()) else b.first_parked_at end,
        attempt = b.attempt - case when o.counts then 0 else 1 end, lease_owner = null,
        suspect = coalesce(o.suspect,
          b.suspect or o.shared_loss = 1 and b.losses + 1 >= p_crashes_of_suspect),
        losses = case when o.suspect is false then 0 else b.losses + o.shared_loss end,
        losses_alone = case when o.suspect is false then 0 else b.losses_alone + o.isolated_loss end,
        finished_at = case when o.is_cancelled or o.to_state in ('completed', 'dead_letter', 'cancelled')
          then clock_timestamp() end
    from lease o
    where (select count(*) from found) is not null
      and b.id = o.job_id and b.attempt_token = o.token and case b.state when 'running' then true else false end
    returning b.id
  )
  select e.id, 'applied' from ended e
  union all
  select f.job_id, 'repeated' from found f where f.state <> 'running';
end
$$;

-- The end of a job in its handler's own transaction (ctx.sql.begin with complete: true): effects, child jobs and
-- completion are one commit, so that a result is there if and only if its effects are. Last statement of such a
-- transaction, in place of the commit fence. Taking the token away is the gate that every other end of the attempt has
-- to pass too: whoever waits here for it finds none, and neither does who comes later. A result that is too large or
-- nested too deep is replaced by a note, as for a result that a handler returns.
create function purser.complete_attempt(p_result jsonb) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_token uuid := purser.token_from_session();
  v_job_id bigint;
  v_bytes bigint := octet_length(p_result::text);
  v_result jsonb := case
    when v_bytes > 1048576 then jsonb_build_object('purser', 'result cut', 'reason', 'too large', 'bytes', v_bytes,
      'limitBytes', 1048576, 'start', left(p_result::text, 10000))
    when jsonb_path_exists(p_result, 'strict $.**{100} ? (@.type() == "object" || @.type() == "array")', '{}', true)
      then jsonb_build_object('purser', 'result not stored', 'reason', 'nested more than 100 levels deep')
    else p_result end;
begin
  delete from purser.context_tokens where token = v_token and job_id is not null returning job_id into v_job_id;
  if found then
    delete from purser.job_leases where job_id = v_job_id and token = v_token;
    update public.background_jobs
    set state = 'completed', result = v_result, state_detail = '{"by": "handler transaction"}', needed_usd = null,
        suspect = false, losses = 0, losses_alone = 0, lease_owner = null,
        give_up_at = give_up_at + (clock_timestamp() - started_at), finished_at = clock_timestamp()
    where id = v_job_id and attempt_token = v_token and state = 'running';
  end if;
  if not found then
    raise exception 'stale_token: this attempt ended or was taken over; nothing is completed, its effects are rolled back'
      using errcode = 'PU002';
  end if;
end
$$;

select purser.allow_tenant('purser.enqueue_child(text,jsonb,text,timestamp with time zone,integer)');
select purser.allow_tenant('purser.complete_attempt(jsonb)');
