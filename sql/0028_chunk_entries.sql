-- A queue entry carries many jobs. Its id is random, because a counter repeats when the commit of a dispatch is lost: a
-- begin compares the entry, so an entry of a lost dispatch begins nothing and hides no later one.

alter table public.background_jobs add column entry_id uuid;
-- Milliseconds that a job of each type runs, a moving average; null where it is not known.
alter table public.heartbeats add column type_run_ms real[];

drop function purser.begin_attempts(bigint[], integer[], uuid[], text, interval);
drop function purser.dispatch_jobs(text[], integer[], text[], text);

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
