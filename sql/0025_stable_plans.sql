-- The statements that every job passes through, with plans that do not depend on what the tables held when a session
-- planned them: a generic plan, every row found by its key. A plan that was made while background_jobs was empty read
-- the whole table at each begin and end for as long as its session lived. Up to Postgres 17 a switched-off kind of plan
-- costs so much that the server would compile the statement at each call, hence jit = off.

create function purser.begin_attempts(
  p_job_ids bigint[], p_dispatch_nos integer[], p_tokens uuid[], p_worker_id text, p_lease interval)
returns table (job_id bigint, tenant_id text, job_type text, payload jsonb, attempt integer, max_attempts integer,
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
    from unnest(p_job_ids, p_dispatch_nos, p_tokens) as r (job_id, dispatch_no, token)
    cross join lateral (
      select b.id, b.state, b.tenant_id, b.job_type, b.payload, b.attempt, b.max_attempts, b.suspect, b.losses_alone,
             b.created_at, b.scheduled_for
      from public.background_jobs b
      where b.id = r.job_id and b.dispatch_no = r.dispatch_no and case b.state
        when 'queued' then true when 'running' then b.attempt_token = r.token else false end
      for no key update of b
    ) j
  ), begun as (
    update public.background_jobs b
    set state = 'running', attempt = b.attempt + 1, attempt_token = f.token, lease_owner = p_worker_id,
        started_at = now(), state_detail = jsonb_build_object('worker', p_worker_id)
    from found f where b.id = f.id and f.state = 'queued'
    returning b.id, b.tenant_id, b.job_type, b.payload, b.attempt, b.max_attempts, b.attempt_token, b.suspect,
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
  select f.id, f.tenant_id, f.job_type, f.payload, f.attempt, f.max_attempts, f.token, f.suspect, f.losses_alone,
    f.created_at, f.scheduled_for
  from found f where f.state = 'running';
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

-- One round of dispatch: at most p_capacities[i] jobs of p_types[i], round-robin over the tenants: every tenant's first
-- job comes before any tenant's second job, and the tenant that was served longest ago comes first. Within a tenant,
-- jobs are ordered by priority, then by due time. Rows and tenants that another transaction has locked are left out.
create function purser.dispatch_jobs(
  p_types text[], p_capacities integer[], p_skipped_tenants text[], p_only_tenant text)
returns table (job_id bigint, job_type text, tenant_id text, dispatch_no integer, priority integer)
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
  -- Claims share this lock; a pause takes it exclusively, which waits for all open claims. The statements that follow
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
  for job_id, job_type, tenant_id, dispatch_no, priority in
    with unlocked as materialized (
      select u.id, u.place from unnest(v_all) with ordinality as u (id, place) cross join lateral (
        select from public.background_jobs b where b.id = u.id and b.state in ('pending', 'failed')
        for no key update of b skip locked) b
    ), queued as (
      update public.background_jobs b
      set state = 'queued', dispatch_no = b.dispatch_no + 1, queued_at = now(), state_detail = '{}'
      from unlocked u where b.id = u.id
      returning u.place, b.id, b.job_type, b.tenant_id, b.dispatch_no, b.priority
    )
    select q.id, q.job_type, q.tenant_id, q.dispatch_no, q.priority from queued q order by q.place
  loop
    v_served := v_served || tenant_id;
    return next;
  end loop;
  update public.tenant_queues q set last_dispatched_at = now() where q.tenant_id = any(v_served);
end
$$;

-- Claims at most p_limit due schedules, in the order of their due times, and makes their jobs. p_ticks: [{jobType,
-- cohort, current, next, splaySeconds}]; a schedule whose cohort has no tick is left out. The key of a job is (tenant,
-- job type, tick), kept for two intervals past the tick, in a table that tenants cannot write. NO KEY UPDATE does not
-- conflict with the foreign-key check of an open insert (a long ingestion).
create function purser.claim_schedules(
  p_ticks jsonb, p_now timestamptz, p_limit integer, p_only_tenant text, out claimed integer, out created integer)
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_sort = off set enable_bitmapscan = off
set lock_timeout = '2s' set jit = off
as $$
begin
  with tick as materialized (
    select * from jsonb_to_recordset(p_ticks) as k ("jobType" text, cohort text, current timestamptz,
      next timestamptz, "splaySeconds" integer)
  ), due as materialized (
    select s.tenant_id, s.job_type, k.cohort, k.current, k.next, k."splaySeconds",
           nextval(pg_get_serial_sequence('public.background_jobs', 'id')) as job_id
    from public.tenant_schedules s
    cross join lateral (
      select purser.cohort_of(t.plan, t.last_active_at, p_now) as cohort
      from public.tenants t where t.id = s.tenant_id offset 0) t
    cross join lateral (
      select tick.* from tick where tick."jobType" = s.job_type and tick.cohort = t.cohort limit 1) k
    where s.enabled and s.next_due <= p_now and (p_only_tenant is null or s.tenant_id = p_only_tenant)
    order by s.next_due limit p_limit
    for no key update of s skip locked
  ), keyed as (
    insert into purser.tick_keys (tenant_id, job_type, bucket, job_id, expires_at)
    select d.tenant_id, d.job_type, d.current, d.job_id, d.next + 2 * (d.next - d.current) from due d
    on conflict do nothing
    returning tick_keys.job_id
  ), made as (
    insert into public.background_jobs
      (id, tenant_id, job_type, dedup_key, max_attempts, scheduled_for, give_up_at, state_detail)
    select d.job_id, d.tenant_id, d.job_type,
           format('%s:%s:%s', d.tenant_id, d.job_type,
             to_char(d.current at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
           y.max_attempts, now(), now() + y.give_up_after_ms * interval '1 millisecond',
           jsonb_build_object('cohort', d.cohort, 'bucket', d.current)
    from due d
    cross join lateral (select t.* from public.job_types t where t.job_type = d.job_type offset 0) y
    where d.job_id = any(array(select k.job_id from keyed k))
    returning 1
  ), advanced as (
    -- Next due = the cohort's next tick plus the tenant's splay.
    update public.tenant_schedules s
    set last_bucket = d.current,
        next_due = d.next + interval '1 second' * case when d."splaySeconds" = 0 then 0
          else ('x' || substr(md5(s.tenant_id), 1, 8))::bit(32)::bigint % d."splaySeconds" end
    from due d where s.tenant_id = d.tenant_id and s.job_type = d.job_type
    returning 1
  )
  select (select count(*) from advanced), (select count(*) from made) into claimed, created;
end
$$;
