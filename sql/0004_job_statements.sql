-- The functions on jobs: enqueue in all its forms, dispatch, and the begin and end of attempts. Dispatch and what every
-- attempt passes through have plans that do not depend on what the tables held when a session planned them: a generic
-- plan, every row found by its key. A plan that was made while a table was empty would read the whole table at
-- each begin and end for as long as its session lived. Joins by key say `between x and x`: by `=` the planner may also
-- read a whole index in its order. Up to Postgres 17 a switched-off kind of plan costs so much that
-- the server would compile the statement at each call, hence jit = off. The pauses that dispatch obeys are in
-- 0010_operators.
-- SQLSTATEs: PU002 stale_token, PU003 unknown_tenant, PU004 unknown_job_type, PU005 payload_too_large,
-- PU007 invalid_payload, PU008 duplicate_job, PU010 invalid_request; PU012 backlog_full is raised by the functions of
-- 0013_backlog, which enqueue asks.

-- What is wrong with a request, in its own words for callers of every language; null where nothing is. The table would
-- name a constraint, and takes a window or a date without an end.
create function purser.request_fault(
  p_dedup_key text, p_priority integer, p_run_at timestamptz, p_dedup_window interval, p_group text)
returns text language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if p_priority is null or p_priority not between -1000 and 1000 then
    return 'the priority must be a whole number from -1000 to 1000';
  elsif length(p_dedup_key) not between 1 and 500 then
    return format('the dedup key must have 1 to 500 characters; it has %s', length(p_dedup_key));
  elsif not isfinite(p_run_at) or p_run_at >= '9999-01-01 00:00:00+00' then
    return 'the time to run at must be a date before the year 9999';
  elsif p_dedup_window is null or p_dedup_window < interval '0' or p_dedup_window > interval '10 years' then
    return 'the dedup window must be from nothing to 10 years';
  elsif p_group !~ '^[a-zA-Z0-9_:.@/-]{1,200}$' then
    return purser.group_fault(p_group);
  end if;
  return null;
end
$$;

-- Tells a sleeping dispatcher of a job that is due, or will be before it would look again. A notification costs a commit
-- a lock that all others wait for, so there is none while a dispatcher looks by itself.
create function purser.wake_dispatcher(p_due_at timestamptz) returns void
language plpgsql volatile set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  if p_due_at < clock_timestamp() + interval '1 second'
      and not exists (select from purser.dispatcher d where d.awake_until > clock_timestamp()) then
    perform pg_notify('purser_dispatch', '');
  end if;
end
$$;

-- A new job in the table of its state.
create function purser.make_job(
  p_id bigint, p_tenant_id text, p_type public.job_types, p_payload jsonb, p_dedup_key text, p_run_at timestamptz,
  p_priority integer, p_origin jsonb, p_group_name text, p_replay_of bigint default null)
returns void language plpgsql volatile set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_give_up_at timestamptz := p_run_at + p_type.give_up_after_ms * interval '1 millisecond';
begin
  insert into public.jobs
    (id, tenant_id, job_type, payload, dedup_key, max_attempts, priority, scheduled_for, origin, group_name, replay_of)
  values (p_id, p_tenant_id, p_type.job_type, p_payload, p_dedup_key, p_type.max_attempts, p_priority, p_run_at,
    p_origin, p_group_name, p_replay_of);
  if p_run_at <= now() then
    insert into purser.waiting
      (job_id, tenant_id, job_type, group_name, priority, scheduled_for, give_up_at, payload_bytes)
    values (p_id, p_tenant_id, p_type.job_type, p_group_name, p_priority, p_run_at, v_give_up_at,
      octet_length(p_payload::text));
  else
    insert into purser.later
      (job_id, tenant_id, job_type, group_name, priority, scheduled_for, give_up_at, payload_bytes)
    values (p_id, p_tenant_id, p_type.job_type, p_group_name, p_priority, p_run_at, v_give_up_at,
      octet_length(p_payload::text));
  end if;
  perform purser.wake_dispatcher(p_run_at);
end
$$;

-- Gives a waiting job another payload, time, priority and group; false if it does not wait any more. Each round has a
-- new snapshot: a job that moves from later to waiting at this moment is in neither.
create function purser.replace_waiting(
  p_id bigint, p_payload jsonb, p_run_at timestamptz, p_priority integer, p_group_name text, p_give_up_at timestamptz)
returns boolean language plpgsql volatile set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_row purser.waiting;
begin
  for v_try in 1 .. 100 loop
    delete from purser.waiting w where w.job_id = p_id returning w.* into v_row;
    if not found then
      delete from purser.later l where l.job_id = p_id returning l.* into v_row;
    end if;
    exit when found;
    if exists (select from purser.in_flight f where f.job_id = p_id)
        or exists (select from purser.parked p where p.job_id = p_id)
        or not exists (select from public.jobs j where j.id = p_id and j.outcome is null) then
      return false;
    end if;
  end loop;
  if v_row.job_id is null then
    return false;
  end if;
  update public.jobs j
  set payload = p_payload, priority = p_priority, scheduled_for = p_run_at, group_name = p_group_name where j.id = p_id;
  v_row.priority := p_priority;
  v_row.group_name := p_group_name;
  v_row.scheduled_for := p_run_at;
  v_row.give_up_at := p_give_up_at;
  v_row.payload_bytes := octet_length(p_payload::text);
  if p_run_at <= now() then
    insert into purser.waiting select v_row.*;
  else
    insert into purser.later select v_row.*;
  end if;
  perform purser.wake_dispatcher(p_run_at);
  return true;
end
$$;

-- A new job like this dead letter, which is then no longer listed; null if it is no dead letter, was discarded, or was
-- replayed before.
create function purser.replay_dead_letter(p_job_id bigint, p_operator text, p_source text) returns bigint
language plpgsql volatile set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_dead public.jobs;
  v_type public.job_types;
  v_id bigint;
begin
  select j.* into v_dead from public.jobs j
  where j.id = p_job_id and j.outcome = 'dead_letter' and j.discarded_at is null for no key update;
  if not found or exists (select from public.jobs j where j.replay_of = p_job_id) then
    return null;
  end if;
  perform from public.tenants t where t.id = v_dead.tenant_id for key share;
  select * into v_type from public.job_types t where t.job_type = v_dead.job_type;
  v_id := nextval('public.jobs_id_seq');
  perform purser.make_job(v_id, v_dead.tenant_id, v_type, v_dead.payload, null, now(), v_dead.priority,
    jsonb_build_object('replay_of', p_job_id::text, 'by', p_operator, 'source', p_source),
    v_dead.group_name, p_job_id);
  delete from purser.dead_letters d where d.job_id = p_job_id;
  return v_id;
exception when unique_violation then
  return null;
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
  p_group text default null,
  out job_id bigint,
  out created boolean,
  out replaced boolean
) language plpgsql volatile security definer
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off
as $$
declare
  v_type public.job_types;
  v_run_at timestamptz := coalesce(p_run_at, now());
  v_fault text := purser.request_fault(p_dedup_key, p_priority, p_run_at, p_dedup_window, p_group);
  v_max_jobs bigint;
  v_max_bytes bigint;
  -- Of the tenant's gate.
  v_passed bigint;
begin
  if v_fault is not null then
    raise exception 'invalid_request: %', v_fault using errcode = 'PU010';
  end if;
  select * into v_type from public.job_types t where t.job_type = p_job_type;
  if not found then
    raise exception 'unknown_job_type: no job type "%"', left(p_job_type, 100) using errcode = 'PU004',
      hint = 'Own types are registered by workers and by "purser enqueue" with PURSER_HANDLERS set, built-in ones by "purser migrate up".';
  end if;
  select coalesce(t.max_backlog_jobs, p.max_backlog_jobs), coalesce(t.max_backlog_bytes, p.max_backlog_bytes)
  into v_max_jobs, v_max_bytes
  from public.tenants t join public.plans p on p.plan = t.plan where t.id = p_tenant_id for key share of t;
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

  job_id := nextval('public.jobs_id_seq');
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
        and not exists (select from public.jobs j where j.id = k.job_id and j.outcome is null);
    if not found then
      created := false;
      select k.job_id into enqueue.job_id from public.job_keys k
      where k.tenant_id = p_tenant_id and k.job_type = p_job_type and k.dedup_key = p_dedup_key;
      if p_on_duplicate = 'reject' then
        raise exception 'duplicate_job: job % of type % has the dedup key "%"', enqueue.job_id, p_job_type, p_dedup_key
          using errcode = 'PU008', hint = 'Wait until it has ended and its window is over, or ignore it.';
      elsif p_on_duplicate = 'replace' then
        replaced := purser.replace_waiting(enqueue.job_id, p_payload, v_run_at, p_priority, coalesce(p_group, ''),
          v_run_at + v_type.give_up_after_ms * interval '1 millisecond');
      end if;
      return;
    end if;
  end if;
  if v_max_jobs is not null or v_max_bytes is not null then
    v_passed := purser.admit_job(p_tenant_id, v_max_jobs, v_max_bytes, octet_length(p_payload::text));
  end if;
  perform purser.make_job(enqueue.job_id, p_tenant_id, v_type, p_payload, p_dedup_key, v_run_at, p_priority, p_detail,
    coalesce(p_group, ''));
  if v_passed is not null then
    perform purser.check_at_commit(p_tenant_id, v_passed, enqueue.job_id);
  end if;
end
$$;

create type purser.enqueue_request as (
  place bigint, tenant_id text, job_type text, payload jsonb, dedup_key text, run_at timestamptz, priority integer,
  group_name text);

-- Many jobs in one statement, all or nothing: [{tenantId, jobType, payload?, dedupKey?, runAt?, priority?, group?}].
-- A key that is taken, also by an earlier element, is ignored; keys are kept for 24 hours.
create function purser.enqueue_many(p_requests jsonb)
returns table (place bigint, job_id bigint, created boolean)
language plpgsql volatile security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_requests purser.enqueue_request[];
  -- Where the group is no text.
  v_wrong_place bigint;
  v_bad record;
  -- A tenant of theirs has a limit of its backlog.
  v_is_limited boolean;
  v_last_id bigint;
  v_limited text[];
  v_passed bigint[];
  v_more record;
begin
  if jsonb_typeof(p_requests) is distinct from 'array' then
    raise exception 'invalid_request: the requests must be a JSON array of objects' using errcode = 'PU010';
  end if;
  select array_agg((e.ordinality, e.item->>'tenantId', e.item->>'jobType', coalesce(e.item->'payload', '{}'),
      e.item->>'dedupKey', coalesce((e.item->>'runAt')::timestamptz, now()),
      coalesce((e.item->>'priority')::integer, 0), e.item->>'group')::purser.enqueue_request order by e.ordinality),
    min(e.ordinality) filter (where jsonb_typeof(e.item->'group') not in ('string', 'null'))
  into v_requests, v_wrong_place
  from jsonb_array_elements(p_requests) with ordinality e (item, ordinality);
  if v_wrong_place is not null then
    raise exception 'invalid_request: request %: the group must be a string, not %', v_wrong_place,
      jsonb_typeof(p_requests->(v_wrong_place - 1)::integer->'group') using errcode = 'PU010';
  end if;
  -- In one order for all callers. A tenant that is deleted at this moment is unknown to the next statement.
  with locked as materialized (
    select coalesce(t.max_backlog_jobs, p.max_backlog_jobs) is not null
      or coalesce(t.max_backlog_bytes, p.max_backlog_bytes) is not null as is_limited
    from public.tenants t join public.plans p on p.plan = t.plan
    where t.id in (select r.tenant_id from unnest(v_requests) r)
    order by t.id for key share of t
  )
  select coalesce(bool_or(l.is_limited), false) into v_is_limited from locked l;
  select r.place, r.tenant_id, r.job_type, t.id as known_tenant, y.job_type as known_type, r.payload, f.fault into v_bad
  from unnest(v_requests) r
  left join public.tenants t on t.id = r.tenant_id
  left join public.job_types y on y.job_type = r.job_type
  cross join lateral (
    select purser.request_fault(r.dedup_key, r.priority, r.run_at, interval '0', r.group_name) as fault offset 0) f
  where t.id is null or y.job_type is null or jsonb_typeof(r.payload) is distinct from 'object'
    or octet_length(r.payload::text) > 1048576 or f.fault is not null
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
  if v_is_limited then
    v_last_id := nextval('public.jobs_id_seq');
    select a.tenant_ids, a.passed into v_limited, v_passed
    from purser.admit_requests(v_requests, v_last_id, false) a;
  end if;
  return query
  with ordered as materialized (
    select r.*, row_number() over (partition by r.tenant_id, r.job_type, r.dedup_key order by r.place) as turn
    from unnest(v_requests) r
    order by r.place
  ), request as materialized (
    -- Ids in the order of the requests: jobs that are due at the same time run in the order of their ids.
    select o.*, nextval('public.jobs_id_seq') as id from ordered o
  ), keyed as (
    insert into public.job_keys as k (tenant_id, job_type, dedup_key, job_id, expires_at)
    select r.tenant_id, r.job_type, r.dedup_key, r.id, now() + interval '24 hours'
    from request r where r.dedup_key is not null and r.turn = 1
    order by r.tenant_id, r.job_type, r.dedup_key
    on conflict on constraint job_keys_pkey do update
      set job_id = excluded.job_id, expires_at = excluded.expires_at
      where k.expires_at <= now()
        and not exists (select from public.jobs j where j.id = k.job_id and j.outcome is null)
    returning k.job_id
  ), wanted as materialized (
    select r.*, y.max_attempts, r.run_at + y.give_up_after_ms * interval '1 millisecond' as give_up_at
    from request r join public.job_types y on y.job_type = r.job_type
    where r.dedup_key is null or r.id in (select k.job_id from keyed k)
  ), made as (
    insert into public.jobs
      (id, tenant_id, job_type, payload, dedup_key, max_attempts, priority, scheduled_for, group_name)
    select w.id, w.tenant_id, w.job_type, w.payload, w.dedup_key, w.max_attempts, w.priority, w.run_at,
      coalesce(w.group_name, '')
    from wanted w
    returning id
  ), due as (
    insert into purser.waiting
      (job_id, tenant_id, job_type, group_name, priority, scheduled_for, give_up_at, payload_bytes)
    select w.id, w.tenant_id, w.job_type, coalesce(w.group_name, ''), w.priority, w.run_at, w.give_up_at,
      octet_length(w.payload::text)
    from wanted w where w.run_at <= now()
  ), postponed as (
    insert into purser.later
      (job_id, tenant_id, job_type, group_name, priority, scheduled_for, give_up_at, payload_bytes)
    select w.id, w.tenant_id, w.job_type, coalesce(w.group_name, ''), w.priority, w.run_at, w.give_up_at,
      octet_length(w.payload::text)
    from wanted w where w.run_at > now()
  )
  select r.place, coalesce(m.id, own.id, k.job_id), m.id is not null
  from request r
  left join made m on m.id = r.id
  left join request own on m.id is null and own.turn = 1 and own.tenant_id = r.tenant_id
    and own.job_type = r.job_type and own.dedup_key = r.dedup_key and own.id in (select id from made)
  left join public.job_keys k on m.id is null and own.id is null and k.tenant_id = r.tenant_id
    and k.job_type = r.job_type and k.dedup_key = r.dedup_key
  order by r.place;
  if v_is_limited then
    if exists (select from unnest(v_requests) r where r.dedup_key is not null) then
      select a.tenant_ids, a.passed into v_more from purser.admit_requests(v_requests, v_last_id, true) a;
      v_limited := v_limited || v_more.tenant_ids;
      v_passed := v_passed || v_more.passed;
    end if;
    perform purser.check_at_commit(l.tenant_id, l.passed, v_last_id + 1)
    from unnest(v_limited, v_passed) as l (tenant_id, passed);
  end if;
  perform purser.wake_dispatcher((select min(r.run_at) from unnest(v_requests) r));
end
$$;

-- Concurrent enqueues of one process share a statement. It fails where a tenant is locked, and its requests are then
-- sent one by one: no tenant's enqueue waits for the lock of another. Nor does a full tenant fail the others: its caller
-- sends those of the tenant that the refusal names one by one, and the others again.
create function purser.enqueue_gathered(p_requests jsonb)
returns table (place bigint, job_id bigint)
language plpgsql volatile security definer
set search_path = pg_catalog, public, purser, pg_temp
set lock_timeout = '200ms'
as $$
begin
  return query select m.place, m.job_id from purser.enqueue_many(p_requests) m;
  -- Here, where the wait for a tenant's gate ends soon, and not at the commit.
  set constraints purser.pass_gates immediate;
end
$$;

-- A handler's door: the tenant is the token's, and the token has to be a running attempt's.
create function purser.enqueue_child(
  p_job_type text,
  p_payload jsonb default '{}',
  p_dedup_key text default null,
  p_run_at timestamptz default null,
  p_priority integer default 0,
  p_group text default null,
  out job_id bigint,
  out created boolean
) language plpgsql volatile security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_tenant_id text := purser.current_tenant();
  v_parent bigint;
begin
  select f.job_id into v_parent from purser.in_flight f
  where f.job_id = purser.job_of_token(purser.token_from_session()) and f.token = purser.token_from_session();
  select e.job_id, e.created into enqueue_child.job_id, enqueue_child.created
  from purser.enqueue(v_tenant_id, p_job_type, p_payload, p_dedup_key, p_run_at, p_priority,
    '24 hours', jsonb_strip_nulls(jsonb_build_object('parent', v_parent)), 'ignore', p_group) e;
end
$$;

-- Whether the tenant's job with this dedup key has not ended.
create function purser.is_job_open(p_job_type text, p_dedup_key text) returns boolean
language sql stable security definer set search_path = pg_catalog, public, purser, pg_temp as $$
  select exists (
    select from public.job_keys k join public.jobs j on j.id = k.job_id
    where k.tenant_id = purser.current_tenant() and k.job_type = p_job_type and k.dedup_key = p_dedup_key
      and j.outcome is null)
$$;

-- Moves what has become due from later to waiting, the earliest first, at most p_limit jobs.
create function purser.promote_due(p_limit integer) returns void
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set lock_timeout = '2s' set jit = off
as $$
begin
  if not exists (select from purser.later l where l.scheduled_for <= now() order by l.scheduled_for limit 1) then
    return;
  end if;
  with due as materialized (
    select l.job_id from purser.later l where l.scheduled_for <= now()
    order by l.scheduled_for limit p_limit for update skip locked
  ), gone as (
    delete from purser.later l using due where l.job_id between due.job_id and due.job_id returning l.*
  )
  insert into purser.waiting select * from gone;
end
$$;

-- The types that have a due job: one index probe per type. Where a job has become due in later, all types; otherwise a
-- row without a type says in how many milliseconds the next one will be. A dispatcher that finds work looks again within
-- p_awake. p_listens: its session hears of jobs from now on.
create function purser.types_with_work(p_awake interval, p_listens boolean)
returns table (job_type text, due_in_ms double precision)
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set lock_timeout = '2s' set jit = off
as $$
#variable_conflict use_column
declare
  v_types text[];
  v_due_in_ms double precision;
begin
  if p_listens then
    listen purser_dispatch;
  end if;
  select extract(epoch from l.scheduled_for - now()) * 1000 into v_due_in_ms
  from purser.later l order by l.scheduled_for limit 1;
  if v_due_in_ms <= 0 then
    v_types := array(select t.job_type from public.job_types t);
  else
    v_types := array(
      select t.job_type from public.job_types t
      where (
        select true from purser.waiting w where w.job_type = t.job_type
        order by w.job_type, w.tenant_id, w.group_name, purser.rank_of(w.priority, w.scheduled_for), w.job_id limit 1));
  end if;
  if cardinality(v_types) > 0 then
    update purser.dispatcher d set awake_until = clock_timestamp() + p_awake
    where d.only_row and p_awake > interval '0' and d.awake_until < clock_timestamp() + p_awake / 2;
    return query select t.job_type, null::double precision from unnest(v_types) as t (job_type);
  end if;
  if v_due_in_ms > 0 then
    return query select null::text, v_due_in_ms;
  end if;
end
$$;

-- The limit of a tenant's group: its own one, or else that of each tenant; of a name and of its kind, the name's. Like
-- the next five it has no settings, so that it becomes part of the statement that reads it.
create function purser.own_limit_of_group(p_tenant text, p_group text)
returns table (tenant_id text, max_running integer, max_starts integer, per_seconds integer)
language sql stable as $$
  select p_tenant, l.max_running, l.max_starts, l.per_seconds from public.job_limits l
  where l.tenant_id in (p_tenant, '') and l.job_type = '' and l.each_tenant = (l.tenant_id = '')
    and l.group_name in (p_group, pg_catalog.substring(p_group, '^[^:]*:') || '*')
  order by l.tenant_id = '', l.group_name <> p_group limit 1
$$;

-- The limit of a group of all tenants together; tenant_id is empty.
create function purser.shared_limit_of_group(p_group text)
returns table (tenant_id text, max_running integer, max_starts integer, per_seconds integer)
language sql stable as $$
  select '', l.max_running, l.max_starts, l.per_seconds from public.job_limits l
  where l.tenant_id = '' and l.job_type = '' and not l.each_tenant
    and l.group_name in (p_group, pg_catalog.substring(p_group, '^[^:]*:') || '*')
  order by l.group_name <> p_group limit 1
$$;

create function purser.limits_of_group(p_tenant text, p_group text)
returns table (tenant_id text, max_running integer, max_starts integer, per_seconds integer)
language sql stable as $$
  select * from purser.own_limit_of_group(p_tenant, p_group)
  union all
  select * from purser.shared_limit_of_group(p_group)
$$;

-- The permits of a limit of starts whose jobs will not begin with them, since they went back, or ended. The order, and
-- >= in place of =, leave the planner no index but that of the limit's permits by started_at; the limit 1 keeps the
-- subquery from becoming a join.
create function purser.left_permits(p_tenant text, p_type text, p_group text, p_claimed bigint[])
returns table (slot integer)
language sql stable as $$
  select s.slot from purser.rate_slots s
  where s.tenant_id = p_tenant and s.job_type = p_type and s.group_name = p_group and s.started_at >= 'infinity'
    and s.job_id <> all(p_claimed)
    and (select true from purser.in_flight f where f.job_id = s.job_id and f.token is null limit 1) is null
  order by s.tenant_id, s.job_type, s.group_name, s.started_at
$$;

-- How many permits a limit of starts has left, p_most at most. Of a limit that was higher, more were made, and those of
-- them that still count are over it. Each offset 0 keeps what it encloses from being computed wherever it is named.
create function purser.free_starts(
  p_tenant text, p_type text, p_group text, p_max_starts integer, p_per_seconds integer, p_claimed bigint[],
  p_most integer) returns table (free bigint)
language sql stable as $$
  select greatest(0, least(p_most, greatest(0, p_max_starts - m.made) - m.over
    + (select count(*) from (
        select from purser.rate_slots s
        where s.tenant_id = p_tenant and s.job_type = p_type and s.group_name = p_group and s.slot <= p_max_starts
          and s.started_at <= now() - p_per_seconds * interval '1 second'
        order by s.tenant_id, s.job_type, s.group_name, s.started_at limit p_most + m.over) f)
    + (select count(*) from purser.left_permits(p_tenant, p_type, p_group, p_claimed) l where l.slot <= p_max_starts)))
  from (
    select n.made, case when n.made <= p_max_starts then 0 else (
      select count(*) from purser.rate_slots s
      where s.tenant_id = p_tenant and s.job_type = p_type and s.group_name = p_group and s.slot > p_max_starts
        and s.started_at > now() - p_per_seconds * interval '1 second'
        and s.slot not in (
          select l.slot from purser.left_permits(p_tenant, p_type, p_group, p_claimed) l)) end as over
    from (
      select coalesce((
        select s.slot from purser.rate_slots s
        where s.tenant_id = p_tenant and s.job_type = p_type and s.group_name = p_group
        order by s.tenant_id desc, s.job_type desc, s.group_name desc, s.slot desc limit 1), 0) as made
      offset 0) n
    offset 0) m
$$;

-- How many jobs the limits of a tenant leave for a type, by a count of what is in flight; null without a limit.
-- p_chosen: jobs that this dispatch has chosen of each tenant; p_claimed: those of them that have a permit.
create function purser.room_of_tenant(
  p_tenant text, p_type text, p_chosen jsonb, p_claimed bigint[], p_most integer) returns table (room bigint)
language sql stable as $$
  select min(least(
    case when l.max_running is not null then l.max_running - (
      select count(*) from purser.in_flight f
      where f.limited and f.tenant_id = p_tenant and (l.job_type = '' or f.job_type = p_type))
      - case when l.job_type = '' then coalesce((p_chosen->>p_tenant)::integer, 0) else 0 end end,
    case when l.max_starts is not null then (
      select s.free from purser.free_starts(
        p_tenant, l.job_type, '', l.max_starts, l.per_seconds, p_claimed, p_most) s) end))
  from public.job_limits l where l.tenant_id = p_tenant and l.group_name = '' and l.job_type in ('', p_type)
$$;

-- The permits with which a job is to begin, locked. A statement that updates them by their place, and not by the job, has
-- no other plan than to look up each job.
create function purser.locked_permits(p_job_id bigint) returns table (place tid)
language sql volatile as $$
  select s.ctid from purser.rate_slots s where s.job_id = p_job_id and s.started_at = 'infinity' for update of s
$$;

-- Takes a permit for each of these jobs of a type from every limit of starts that they are under; the caller has locked
-- the limits and counted what they leave, those of groups if p_with_groups. Returns the jobs that have one.
create function purser.claim_starts(
  p_type text, p_job_ids bigint[], p_tenants text[], p_groups text[], p_claimed bigint[], p_with_groups boolean)
returns bigint[]
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_bitmapscan = off set enable_sort = off set jit = off
as $$
declare
  v_scopes jsonb;
  v_left tid[];
  v_claimed bigint[];
  -- A limit was higher before.
  v_is_over boolean;
begin
  v_scopes := (
    select jsonb_agg(to_jsonb(g)) from (
      select l.tenant_id, l.job_type, l.group_name, min(l.max_starts) as max_starts,
        now() - max(l.per_seconds) * interval '1 second' as before, array_agg(l.job_id) as job_ids
      from (
        select u.id as job_id, t.tenant_id, t.job_type, '' as group_name, t.max_starts, t.per_seconds
        from unnest(p_job_ids, p_tenants) as u (id, tenant_id) cross join lateral (
          select b.* from public.job_limits b
          where b.tenant_id in ('', u.tenant_id) and b.job_type in ('', p_type) and b.group_name = ''
            and b.max_starts is not null
          offset 0) t
        union all
        select u.id, g.tenant_id, '', u.group_name, g.max_starts, g.per_seconds
        from unnest(p_job_ids, p_tenants, p_groups) as u (id, tenant_id, group_name)
        cross join lateral purser.limits_of_group(u.tenant_id, u.group_name) g
        where p_with_groups and u.group_name <> '' and g.max_starts is not null
      ) l group by l.tenant_id, l.job_type, l.group_name order by l.tenant_id, l.job_type, l.group_name
    ) g);
  if v_scopes is null then
    return '{}';
  end if;
  perform from purser.limit_locks k where k.name = 'starts' for share;
  if not found then
    insert into purser.limit_locks (name) values ('starts') on conflict do nothing;
    perform from purser.limit_locks k where k.name = 'starts' for share;
  end if;
  -- Of an earlier dispatch of them.
  v_left := array(
    select l.place from unnest(p_job_ids) as u (id) cross join lateral purser.locked_permits(u.id) l
    where u.id <> all(p_claimed));
  update purser.rate_slots s set started_at = '-infinity' from unnest(v_left) as l (place) where s.ctid = l.place;
  with scope as materialized (
    select g.*, cardinality(g.job_ids) as jobs, coalesce((
      select s.slot from purser.rate_slots s
      where s.tenant_id = g.tenant_id and s.job_type = g.job_type and s.group_name = g.group_name
      order by s.tenant_id desc, s.job_type desc, s.group_name desc, s.slot desc limit 1), 0) as made
    from jsonb_to_recordset(v_scopes) as g (
      tenant_id text, job_type text, group_name text, max_starts integer, before timestamptz, job_ids bigint[])
  ), free as materialized (
    select g.tenant_id, g.job_type, g.group_name, g.job_ids, f.slot, f.n
    from scope g cross join lateral (
      select e.slot, row_number() over () as n from (
        (select s.slot from purser.rate_slots s
         where s.tenant_id = g.tenant_id and s.job_type = g.job_type and s.group_name = g.group_name
           and s.started_at <= g.before and s.slot <= g.max_starts
         order by s.tenant_id, s.job_type, s.group_name, s.started_at limit g.jobs)
        union all
        (select l.slot from purser.left_permits(g.tenant_id, g.job_type, g.group_name, p_claimed) l
         where l.slot <= g.max_starts limit g.jobs)
      ) e limit g.jobs
    ) f
    where g.made > 0
  ), taken as (
    update purser.rate_slots s set job_id = f.job_ids[f.n], started_at = 'infinity'
    from free f
    where s.tenant_id = f.tenant_id and s.job_type = f.job_type and s.group_name = f.group_name and s.slot = f.slot
  ), new as (
    -- A limit that was set at this moment may have been counted by nobody: then two may make the same ones.
    insert into purser.rate_slots (tenant_id, job_type, group_name, slot, job_id, started_at)
    select g.tenant_id, g.job_type, g.group_name, g.made + n, g.job_ids[g.had + n], 'infinity'
    from (
      select c.*, (
        select count(*)::integer from free f
        where f.tenant_id = c.tenant_id and f.job_type = c.job_type and f.group_name = c.group_name) as had
      from scope c) g
    cross join lateral generate_series(1, g.jobs - g.had) n
    on conflict do nothing
  )
  select array_agg(distinct j.id), bool_or(g.made > g.max_starts) into v_claimed, v_is_over
  from scope g cross join lateral unnest(g.job_ids) as j (id);
  if v_is_over then
    -- From the last one down, so that no number is missing below one that counts.
    delete from purser.rate_slots s
    using jsonb_to_recordset(v_scopes) as g (
      tenant_id text, job_type text, group_name text, max_starts integer, before timestamptz)
    where s.tenant_id = g.tenant_id and s.job_type = g.job_type and s.group_name = g.group_name
      and s.slot > greatest(g.max_starts, (
        select max(k.slot) from purser.rate_slots k
        where k.tenant_id = g.tenant_id and k.job_type = g.job_type and k.group_name = g.group_name
          and k.started_at > g.before));
  end if;
  return v_claimed;
end
$$;

-- Removes the permits of limits of which all are free, of the next 1,000 that have any. Returns their number.
create function purser.forget_starts() returns bigint
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set lock_timeout = '2s' set jit = off
as $$
declare
  v_scope text[];
  v_before timestamptz;
  v_newest timestamptz;
  v_found bigint;
  v_forgotten bigint := 0;
begin
  if not exists (select from purser.rate_slots) then
    return 0;
  end if;
  select k.last_scope into v_scope from purser.limit_locks k where k.name = 'starts' for update skip locked;
  if not found then
    return 0;
  end if;
  v_before := now() - (
    select coalesce(max(l.per_seconds), 0) * interval '1 second' from public.job_limits l
    where l.max_starts is not null);
  for v_look in 1 .. 1000 loop
    v_scope := (
      select array[s.tenant_id, s.job_type, s.group_name] from purser.rate_slots s
      where (s.tenant_id, s.job_type, s.group_name) > (v_scope[1], v_scope[2], v_scope[3])
      order by s.tenant_id, s.job_type, s.group_name, s.slot limit 1);
    exit when v_scope is null or v_forgotten > 10000;
    v_newest := (
      select s.started_at from purser.rate_slots s
      where s.tenant_id = v_scope[1] and s.job_type = v_scope[2] and s.group_name = v_scope[3]
      order by s.tenant_id desc, s.job_type desc, s.group_name desc, s.started_at desc limit 1);
    if v_newest < v_before then
      delete from purser.rate_slots s
      where s.tenant_id = v_scope[1] and s.job_type = v_scope[2] and s.group_name = v_scope[3];
      get diagnostics v_found = row_count;
      v_forgotten := v_forgotten + v_found;
    end if;
  end loop;
  update purser.limit_locks k set last_scope = coalesce(v_scope, '{"","",""}') where k.name = 'starts';
  return v_forgotten;
end
$$;

-- The next p_limit groups with waiting jobs of a tenant and type, in the order of their names: after p_after, and
-- around. The jobs without a group are not among them.
create function purser.groups_in_turn(p_type text, p_tenant text, p_after text, p_limit integer) returns text[]
language plpgsql stable
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set jit = off
as $$
declare
  v_groups text[] := '{}';
  v_after text := p_after;
  v_up_to text;
begin
  loop
    v_groups := v_groups || array(
      with recursive waiting_group as (
        (select b.group_name from purser.waiting b
         where b.job_type = p_type and b.tenant_id = p_tenant and b.group_name > v_after
         order by b.job_type, b.tenant_id, b.group_name, purser.rank_of(b.priority, b.scheduled_for), b.job_id limit 1)
        union all
        select (select b.group_name from purser.waiting b
                where b.job_type = p_type and b.tenant_id = p_tenant and b.group_name > w.group_name
                order by b.job_type, b.tenant_id, b.group_name, purser.rank_of(b.priority, b.scheduled_for), b.job_id
                limit 1)
        from waiting_group w where w.group_name is not null and (v_up_to is null or w.group_name < v_up_to)
      )
      select w.group_name from waiting_group w
      where w.group_name is not null and (v_up_to is null or w.group_name <= v_up_to)
      limit p_limit - cardinality(v_groups));
    exit when v_after = '' or cardinality(v_groups) = p_limit;
    v_up_to := p_after;
    v_after := '';
  end loop;
  return v_groups;
end
$$;

-- The lanes in which these tenants' jobs of a type wait, each in the order of rank_of: those without a group, and those of
-- each of the tenant's next p_groups groups, with what the limits of the group leave: to the tenant, and to all tenants
-- together (null: any number), p_most at most of starts. Where p_may_start is false, a lane with a limit is held;
-- where it is null, no group has one.
-- walked_to: the last of the groups, if there are so many. p_chosen: jobs that this dispatch has chosen of groups.
create function purser.lanes_of_tenants(
  p_type text, p_tenants text[], p_groups integer, p_may_start boolean, p_chosen jsonb, p_claimed bigint[],
  p_most integer)
returns table (tenant_id text, group_name text, room bigint, shared_room bigint, is_held boolean, walked_to text)
language plpgsql stable
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = on
set enable_sort = on set enable_bitmapscan = off set jit = off
as $$
#variable_conflict use_column
begin
  return query
  select t.id, '', null::bigint, null::bigint, false, null::text from unnest(p_tenants) as t (id)
  where (
    select true from purser.waiting b where b.job_type = p_type and b.tenant_id = t.id and b.group_name = ''
    order by b.job_type, b.tenant_id, b.group_name, purser.rank_of(b.priority, b.scheduled_for), b.job_id limit 1);
  return query
  with walk as materialized (
    select t.id, purser.groups_in_turn(p_type, t.id, coalesce((
      select g.last_group_name from purser.group_turns g where g.tenant_id = t.id and g.job_type = p_type), ''),
      p_groups) as groups
    from unnest(p_tenants) as t (id)
    where (
      select true from purser.waiting b where b.job_type = p_type and b.tenant_id = t.id and b.group_name > ''
      order by b.job_type, b.tenant_id, b.group_name, purser.rank_of(b.priority, b.scheduled_for), b.job_id limit 1)
  ), lane as materialized (
    select w.id, g.name, case when cardinality(w.groups) = p_groups then w.groups[p_groups] end as walked_to
    from walk w cross join lateral unnest(w.groups) as g (name)
  ), shared as materialized (
    select n.name, least(
      case when l.max_running is not null then l.max_running - (
        select count(*) from purser.in_flight f where f.group_name = n.name and f.group_name <> '')
        - coalesce((p_chosen->>(e'\n' || n.name))::integer, 0) end,
      case when l.max_starts is not null then (
        select f.free from purser.free_starts('', '', n.name, l.max_starts, l.per_seconds, p_claimed, p_most) f)
        end) as room
    from (select distinct l.name from lane l where p_may_start is not null) n
    cross join lateral purser.shared_limit_of_group(n.name) l
  )
  select l.id, l.name, o.room, s.room, not p_may_start and (o.room is not null or s.room is not null), l.walked_to
  from lane l
  left join shared s on s.name = l.name
  left join lateral (
    select least(
      case when b.max_running is not null then b.max_running - (
        select count(*) from purser.in_flight f
        where f.group_name = l.name and f.tenant_id = l.id and f.group_name <> '')
        - coalesce((p_chosen->>(l.id || e'\n' || l.name))::integer, 0) end,
      case when b.max_starts is not null then (
        select f.free from purser.free_starts(l.id, '', l.name, b.max_starts, b.per_seconds, p_claimed, p_most) f)
        end) as room
    from purser.own_limit_of_group(l.id, l.name) b where p_may_start is not null) o on true;
end
$$;

-- The next jobs of these tenants in these lanes, p_most[i] of each tenant at most, numbered by rank. Of what a group leaves
-- to several tenants, each has one job before any has a second one, beginning after who had the last; who gets none has
-- the next job of its other lanes.
create function purser.jobs_of_lanes(
  p_type text, p_tenants text[], p_most integer[], p_lane_tenants text[], p_lane_groups text[], p_lane_rooms bigint[],
  p_lane_shared bigint[], p_busy bigint[])
returns table (tenant_number bigint, tenant_id text, job_id bigint, place tid, group_name text, job_rank bigint)
language plpgsql stable
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off
set enable_hashjoin = on set enable_sort = on set enable_bitmapscan = off set jit = off
as $$
#variable_conflict use_column
begin
  return query
  with lane as materialized (
    select t.id, t.most, t.number, l.group_name, l.room, l.shared_room
    from unnest(p_tenants, p_most) with ordinality as t (id, most, number)
    join unnest(p_lane_tenants, p_lane_groups, p_lane_rooms, p_lane_shared) as l (id, group_name, room, shared_room)
      on l.id = t.id
    where t.most > 0
  ), candidate as materialized (
    select l.id, l.number, l.most, l.group_name, l.shared_room, j.*
    from lane l cross join lateral (
      select b.job_id, b.ctid as place, purser.rank_of(b.priority, b.scheduled_for) as rank,
        row_number() over (order by purser.rank_of(b.priority, b.scheduled_for), b.job_id) as lane_rank
      from purser.waiting b
      where b.job_type = p_type and b.tenant_id = l.id and b.group_name = l.group_name and b.job_id <> all(p_busy)
      order by purser.rank_of(b.priority, b.scheduled_for), b.job_id
      limit greatest(0, least(l.most, l.room, l.shared_room))
    ) j
  ), wish as materialized (
    select c.*, row_number() over (partition by c.number order by c.rank, c.job_id) as job_rank from candidate c
  ), seat as materialized (
    select w.number, w.group_name, count(*) as seats from (
      select w.number, w.group_name, w.shared_room,
        row_number() over (partition by w.group_name order by w.lane_rank, w.id <= coalesce(g.last_tenant_id, ''), w.id)
          as seat
      from wish w left join purser.group_seats g on g.group_name = w.group_name
      where w.shared_room is not null and w.job_rank <= w.most
    ) w where w.seat <= w.shared_room group by w.number, w.group_name
  ), ranked as (
    select c.*, row_number() over (partition by c.number order by c.rank, c.job_id) as job_rank
    from candidate c left join seat s on s.number = c.number and s.group_name = c.group_name
    where c.shared_room is null or c.lane_rank <= s.seats
  )
  select k.number, k.id, k.job_id, k.place, k.group_name, k.job_rank from ranked k where k.job_rank <= k.most;
end
$$;

-- Tenants with waiting jobs of a type, in the order of their ids: after p_after, up to p_last (null: to the end), without
-- p_without; p_limit at most. With p_limited, those whose limits leave room, and how much (null: any number); the last
-- three arguments are those of room_of_tenant. A loose index scan: one index probe per tenant, however many jobs it has.
-- Each order is the whole key of ix_waiting_order, which no other index has.
create function purser.tenants_in_turn(
  p_type text, p_after text, p_last text, p_without text[], p_limit integer, p_limited boolean, p_chosen jsonb,
  p_claimed bigint[], p_most integer, out tenant_ids text[], out rooms bigint[])
language plpgsql stable
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set jit = off
as $$
begin
  with recursive waiting_tenant as (
    (select b.tenant_id from purser.waiting b where b.job_type = p_type and b.tenant_id > p_after
     order by b.job_type, b.tenant_id, b.group_name, purser.rank_of(b.priority, b.scheduled_for), b.job_id limit 1)
    union all
    select (select b.tenant_id from purser.waiting b where b.job_type = p_type and b.tenant_id > w.tenant_id
            order by b.job_type, b.tenant_id, b.group_name, purser.rank_of(b.priority, b.scheduled_for), b.job_id
            limit 1)
    from waiting_tenant w where w.tenant_id is not null and (p_last is null or w.tenant_id < p_last)
  )
  select coalesce(array_agg(o.tenant_id), '{}'), coalesce(array_agg(o.room), '{}') into tenant_ids, rooms from (
    select f.* from (
      select w.tenant_id, case when p_limited then (
        select r.room from purser.room_of_tenant(w.tenant_id, p_type, p_chosen, p_claimed, p_most) r) end as room
      from waiting_tenant w
      where w.tenant_id is not null and (p_last is null or w.tenant_id <= p_last) and w.tenant_id <> all(p_without)
      offset 0) f
    where coalesce(f.room > 0, true) limit p_limit) o;
end
$$;

-- Marks the jobs in flight that count for a limit and were dispatched before it was set; the sweep repeats it for those
-- that another transaction had locked, or was dispatching. Returns their number.
create function purser.mark_limited() returns bigint
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set lock_timeout = '2s'
as $$
declare
  v_marked bigint := 0;
begin
  if exists (select from public.job_limits) then
    update purser.in_flight f set limited = true where f.job_id in (
      select u.job_id from purser.in_flight u
      where not u.limited and (
        exists (
          select from public.job_limits l
          where l.tenant_id in ('', u.tenant_id) and l.job_type in ('', u.job_type) and l.group_name = '')
        or u.group_name <> '' and exists (select from purser.limits_of_group(u.tenant_id, u.group_name)))
      for update skip locked);
    get diagnostics v_marked = row_count;
  end if;
  return v_marked;
end
$$;

create function purser.limit_set() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  perform purser.mark_limited();
  perform purser.wake_dispatcher(now());
  return null;
end
$$;
create trigger limit_set after insert or update or delete on public.job_limits
  for each statement execute function purser.limit_set();

-- One round of dispatch: at most p_capacities[i] jobs of p_types[i], by turns: a turn is as many jobs as the tenant's
-- weight, every tenant has its turn before any has a second one, and each round goes on where the last one of its type
-- ended, also within a turn. Within a tenant, jobs are ordered by rank_of. Jobs that are next to each other share an
-- entry: p_chunks[i] at most, and no more than leave one for each of p_workers[i] workers. One that was lost, or is
-- large, has an entry of its own. A type that another dispatch serves at this moment, tenants whose limit it looks at,
-- and rows that another transaction has locked are left out. p_only_tenant: only this one's jobs, and it costs nobody a
-- turn.
create function purser.dispatch_jobs(
  p_types text[], p_capacities integer[], p_chunks integer[], p_workers integer[], p_skipped_tenants text[],
  p_only_tenant text)
returns table (job_id bigint, job_type text, tenant_id text, entry_id uuid, alone boolean, priority integer)
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_sort = off set enable_incremental_sort = off set enable_bitmapscan = off
set lock_timeout = '2s' set jit = off
as $$
#variable_conflict use_column
declare
  v_most_owed constant integer := 100;
  v_most_lanes constant integer := 1000;
  v_types text[];
  v_skipped text[];
  v_has_limits boolean;
  v_has_starts boolean;
  v_has_group_limits boolean;
  -- Some jobs of the type name a group.
  v_has_groups boolean;
  -- This dispatch alone starts jobs of limited groups; null before it is known.
  v_may_start boolean;
  -- The lanes of the tenants so far, of types with groups: those that have room, and how many were looked at.
  v_lane_tenants text[];
  v_lane_groups text[];
  v_lane_rooms bigint[];
  v_lane_shared bigint[];
  v_lanes_looked_at integer;
  -- The round looks at no more tenants.
  v_is_spent boolean;
  -- Tenants whose lanes are known, and those of them that have no room in any.
  v_laned text[];
  v_full text[];
  v_new text[];
  -- Where the walk along the groups of a tenant ended.
  v_group_ends jsonb;
  v_lanes record;
  v_plans text[];
  v_plan_weights integer[];
  v_type text;
  v_room integer;
  -- What the type's limit leaves; null without one.
  v_type_room bigint;
  v_size integer;
  v_workers integer;
  v_last_tenant text;
  v_left integer;
  v_all_owed text[];
  v_all_owed_jobs integer[];
  -- Those that have what they are owed now, and those that wait longer.
  v_owed text[];
  v_owed_jobs integer[];
  v_owed_rooms bigint[];
  v_still_owed text[];
  v_still_owed_jobs integer[];
  -- The tenant whose turn the last round did not end.
  v_current text[];
  -- The walk along the tenants: how far it is, around to the first ones, and whether all that wait were found.
  v_walked_to text;
  v_is_around boolean;
  v_is_closed boolean;
  v_found text[];
  v_found_rooms bigint[];
  v_step integer;
  -- Jobs that the turns of the found tenants are to cover, and do.
  v_wanted integer;
  v_covered integer;
  v_before integer;
  -- The current one first.
  v_tenants text[];
  v_weights integer[];
  -- Jobs of the first turn.
  v_firsts integer[];
  -- What the limits of each leave; null without one.
  v_rooms bigint[];
  v_turns integer;
  -- A tenant had as many jobs as its turns.
  v_has_more boolean;
  -- The chosen jobs: their ids, places and tenants; their turn (-1: what is owed), whose it is (its place in v_owed or
  -- v_tenants), and what they leave of it.
  v_ids bigint[];
  v_places tid[];
  v_job_tenants text[];
  v_job_groups text[];
  v_job_turns bigint[];
  v_ranks bigint[];
  v_lefts bigint[];
  -- The walk goes on after this one, and those up to v_passed had their first turn; owed ones up to v_paid, theirs.
  v_served integer;
  v_passed integer;
  v_paid integer;
  -- Tenants whose limits another dispatch has locked.
  v_held text[];
  v_kept bigint[];
  v_retries boolean;
  v_locked bigint[];
  v_busy bigint[];
  v_busy_tenants text[];
  v_open_tenants text[];
  v_next_tenant text;
  v_next_left integer;
  v_next_owed text[];
  v_next_owed_jobs integer[];
  v_cut integer;
  v_random uuid[];
  v_all tid[] := '{}';
  v_entries uuid[] := '{}';
  -- Of the jobs so far: how many each tenant and each limited group has, which have a permit to start, and whether each
  -- counts for a limit; not kept without limits.
  v_chosen jsonb := '{}';
  v_chosen_groups jsonb := '{}';
  v_claimed bigint[] := '{}';
  v_limited boolean[] := '{}';
  v_limited_tenants text[] := '{}';
  v_alone boolean[];
  v_priorities integer[];
begin
  -- Claims share this lock; a pause watches it to see which claims are still open. The statements that follow
  -- have snapshots that are newer than the lock.
  lock table public.pauses in row share mode;
  if exists (select from public.pauses where scope = 'all') then
    return;
  end if;
  select array_agg(t.job_type) into v_types from unnest(p_types) as t (job_type)
  where not exists (select from public.pauses p where p.scope = 'job_type' and p.name = t.job_type);
  if v_types is null then
    return;
  end if;
  select p_skipped_tenants || coalesce(array_agg(p.name), '{}') into v_skipped
  from public.pauses p where p.scope = 'tenant';
  perform purser.promote_due(5000);
  v_has_limits := exists (select from public.job_limits);
  v_has_starts := v_has_limits and exists (select from public.job_limits l where l.max_starts is not null);
  v_has_group_limits := v_has_limits and exists (select from public.job_limits l where l.group_name <> '');
  select array_agg(p.plan), array_agg(p.weight) into v_plans, v_plan_weights from public.plans p;

  for v_type, v_room, v_size, v_workers in
    select t.job_type, t.capacity, t.chunk, t.workers
    from unnest(p_types, p_capacities, p_chunks, p_workers) as t (job_type, capacity, chunk, workers)
    where t.job_type = any(v_types)
    -- What types share goes to the one that waits for longest.
    order by (select d.dispatched_at from purser.dispatch_turns d where d.job_type = t.job_type) nulls first, t.job_type
  loop
    select t.last_tenant_id, t.left_of_turn, t.owed_tenant_ids, t.owed_jobs
    into v_last_tenant, v_left, v_all_owed, v_all_owed_jobs
    from purser.dispatch_turns t where t.job_type = v_type for update skip locked;
    if not found then
      -- An insert would wait for whoever has changed the row.
      continue when exists (select from purser.dispatch_turns t where t.job_type = v_type);
      insert into purser.dispatch_turns (job_type) values (v_type) on conflict do nothing;
      continue when not found;
      v_last_tenant := '';
      v_left := 0;
      v_all_owed := '{}';
      v_all_owed_jobs := '{}';
    end if;
    if v_has_limits then
      -- Exact: only who has locked the type's turns adds to its jobs in flight.
      v_type_room := (
        select least(
          case when l.max_running is not null then
            l.max_running - (select count(*) from purser.in_flight f where f.limited and f.job_type = v_type) end,
          case when l.max_starts is not null then (
            select f.free from purser.free_starts('', v_type, '', l.max_starts, l.per_seconds, v_claimed, v_room) f)
            end)
        from public.job_limits l where l.tenant_id = '' and l.job_type = v_type);
      v_room := least(v_room, v_type_room);
      continue when v_room <= 0;
    end if;
    v_has_groups := exists (select from purser.waiting b where b.job_type = v_type and b.group_name <> '');
    if v_has_groups and v_has_group_limits and v_may_start is null then
      perform from purser.limit_locks k where k.name = 'groups' for no key update skip locked;
      v_may_start := found;
      if not found and not exists (select from purser.limit_locks k where k.name = 'groups') then
        insert into purser.limit_locks (name) values ('groups') on conflict do nothing;
        v_may_start := found;
      end if;
    end if;
    v_lane_tenants := '{}';
    v_lane_groups := '{}';
    v_lane_rooms := '{}';
    v_lane_shared := '{}';
    v_lanes_looked_at := 0;
    v_is_spent := false;
    v_laned := '{}';
    v_full := '{}';
    v_group_ends := '{}';
    v_owed := '{}';
    v_owed_jobs := '{}';
    v_owed_rooms := '{}';
    v_still_owed := '{}';
    v_still_owed_jobs := '{}';
    v_current := '{}';
    v_is_closed := p_only_tenant is not null;
    if v_is_closed then
      v_found := array(select p_only_tenant where p_only_tenant <> all(v_skipped));
    else
      if v_all_owed <> '{}' then
        -- Half of the room, or one of them, so that they hold up nobody.
        select coalesce(array_agg(o.id order by o.place) filter (where o.is_now), '{}'),
          coalesce(array_agg(o.jobs order by o.place) filter (where o.is_now), '{}'),
          coalesce(array_agg(o.id order by o.place) filter (where not o.is_now), '{}'),
          coalesce(array_agg(o.jobs order by o.place) filter (where not o.is_now), '{}')
        into v_owed, v_owed_jobs, v_still_owed, v_still_owed_jobs from (
          select u.id, u.jobs, u.place,
            sum(u.jobs) over (order by u.place) - u.jobs < greatest(1, v_room / 2) as is_now
          from unnest(v_all_owed, v_all_owed_jobs) with ordinality as u (id, jobs, place)
          where u.id <> all(v_skipped) and (
            select true from purser.waiting b where b.job_type = v_type and b.tenant_id = u.id
            order by b.job_type, b.tenant_id, b.group_name, purser.rank_of(b.priority, b.scheduled_for), b.job_id
            limit 1)) o;
        if v_has_limits then
          v_owed_rooms := array(
            select r.room from unnest(v_owed) with ordinality as f (id, place)
            cross join lateral purser.room_of_tenant(f.id, v_type, v_chosen, v_claimed, v_room) r order by f.place);
        end if;
      end if;
      if v_left > 0 then
        v_current := array(
          select v_last_tenant where v_last_tenant <> all(v_skipped) and (
            select true from purser.waiting b where b.job_type = v_type and b.tenant_id = v_last_tenant
            order by b.job_type, b.tenant_id, b.group_name, purser.rank_of(b.priority, b.scheduled_for), b.job_id
            limit 1));
      end if;
      v_found := v_current;
    end if;
    if v_has_limits then
      v_found_rooms := array(
        select r.room from unnest(v_found) with ordinality as f (id, place)
        cross join lateral purser.room_of_tenant(f.id, v_type, v_chosen, v_claimed, v_room) r order by f.place);
    end if;

    v_tenants := '{}';
    v_weights := '{}';
    v_firsts := '{}';
    v_rooms := '{}';
    v_walked_to := v_last_tenant;
    v_is_around := v_last_tenant = '';
    v_wanted := v_room + 10;
    v_covered := coalesce((select sum(o.jobs) from unnest(v_owed_jobs) as o (jobs)), 0);
    v_turns := 1;
    v_busy := '{}';
    v_busy_tenants := '{}';
    v_open_tenants := '{}';
    v_held := '{}';
    -- What belongs to a list is found by subqueries, which are hashed: an array would be searched for each row. Of those
    -- in a where clause, `in` would become a join, which searches too; `(... in ...) is true` does not.
    for v_try in 1 .. 3 loop
      -- The turns of as many tenants as fill the room: of more tenants if these have too few jobs, and more turns of each
      -- only if no other tenant waits for its first one. Without the jobs that turned out to be locked, and in the last
      -- try without tenants of which all were.
      loop
        loop
          if v_has_groups then
            v_new := array(
              select f.id from unnest(v_found || case when v_laned = '{}' then v_owed else '{}' end) as f (id)
              where f.id not in (select l.id from unnest(v_laned) as l (id)) group by f.id);
            if v_new <> '{}' then
              select coalesce(array_agg(l.tenant_id) filter (where l.is_open), '{}') as tenants,
                coalesce(array_agg(l.group_name) filter (where l.is_open), '{}') as groups,
                coalesce(array_agg(l.room) filter (where l.is_open), '{}') as rooms,
                coalesce(array_agg(l.shared_room) filter (where l.is_open), '{}') as shared,
                coalesce(array_agg(distinct l.tenant_id) filter (where l.is_held), '{}') as held,
                coalesce(jsonb_object_agg(l.tenant_id, l.walked_to) filter (where l.walked_to is not null), '{}')
                  as ends,
                count(*)::integer as number
              into v_lanes from (
                select o.*, not coalesce(o.is_held or least(o.room, o.shared_room) <= 0, false) as is_open
                from purser.lanes_of_tenants(v_type, v_new, least(50, greatest(10, 2 * v_room / cardinality(v_new))),
                  v_may_start, v_chosen_groups, v_claimed, v_room) o) l;
              v_lane_tenants := v_lane_tenants || v_lanes.tenants;
              v_lane_groups := v_lane_groups || v_lanes.groups;
              v_lane_rooms := v_lane_rooms || v_lanes.rooms;
              v_lane_shared := v_lane_shared || v_lanes.shared;
              v_lanes_looked_at := v_lanes_looked_at + v_lanes.number;
              v_is_spent := v_lanes_looked_at >= v_most_lanes;
              v_laned := v_laned || v_new;
              v_group_ends := v_group_ends || v_lanes.ends;
              v_busy_tenants := v_busy_tenants || v_lanes.held;
              v_full := v_full || array(
                select n.id from unnest(v_new) as n (id)
                where n.id not in (select l.id from unnest(v_lanes.tenants || v_lanes.held) as l (id)));
              select coalesce(array_agg(f.id order by f.n), '{}'), coalesce(array_agg(f.room order by f.n), '{}')
              into v_found, v_found_rooms from unnest(v_found, v_found_rooms) with ordinality as f (id, room, n)
              where f.id not in (select u.id from unnest(v_full) as u (id));
            end if;
          end if;
          if v_found <> '{}' then
            v_before := cardinality(v_tenants);
            v_tenants := v_tenants || v_found;
            v_weights := v_weights || array(
              select coalesce((
                select coalesce(t.weight, v_plan_weights[array_position(v_plans, t.plan)])
                from public.tenants t where t.id = f.id), 1)
              from unnest(v_found) with ordinality as f (id, place) order by f.place);
            v_firsts := v_firsts || array(
              select case when f.id = any(v_current) then least(v_left, f.weight) else f.weight end
              from unnest(v_found, v_weights[v_before + 1:]) with ordinality as f (id, weight, place) order by f.place);
            v_covered := v_covered + (select sum(f.first) from unnest(v_firsts[v_before + 1:]) as f (first));
            if v_has_limits then
              v_rooms := v_rooms || v_found_rooms;
            end if;
          end if;
          exit when v_is_closed or v_is_spent or v_covered >= v_wanted;
          -- At first a guess of the weights.
          v_step := (v_wanted - v_covered)
            / case when v_tenants = '{}' then 4 else greatest(1, v_covered / cardinality(v_tenants)) end + 10;
          select t.tenant_ids, t.rooms into v_found, v_found_rooms from purser.tenants_in_turn(
            v_type, v_walked_to, case when v_is_around then nullif(v_last_tenant, '') end,
            v_skipped || v_current, v_step, v_has_limits, v_chosen, v_claimed, v_room) t;
          if cardinality(v_found) = v_step then
            v_walked_to := v_found[v_step];
          else
            v_is_closed := v_is_around;
            v_is_around := true;
            v_walked_to := '';
          end if;
        end loop;
        v_found := '{}';
        exit when v_tenants = '{}' and v_owed = '{}';
        if v_is_closed or v_is_spent then
          v_turns := greatest(v_turns, (v_room + v_covered - 1) / greatest(1, v_covered));
        end if;
        select array_agg(c.job_id order by c.turn, c.rank, c.job_rank),
          array_agg(c.place order by c.turn, c.rank, c.job_rank),
          array_agg(c.tenant_id order by c.turn, c.rank, c.job_rank),
          array_agg(c.group_name order by c.turn, c.rank, c.job_rank),
          array_agg(c.turn order by c.turn, c.rank, c.job_rank),
          array_agg(c.rank order by c.turn, c.rank, c.job_rank),
          array_agg(c.owed - c.job_rank + case when c.turn < 0 then 0 else c.first + c.turn * c.weight end
            order by c.turn, c.rank, c.job_rank),
          coalesce(bool_or(c.weight > 0 and c.job_rank = c.owed + c.first + (v_turns - 1) * c.weight), false)
        into v_ids, v_places, v_job_tenants, v_job_groups, v_job_turns, v_ranks, v_lefts, v_has_more from (
          with turn as materialized (
            select t.*, row_number() over () as number,
              case when t.tenant_id in (select h.id from unnest(v_held) as h (id))
                or v_try = 3 and t.tenant_id in (select u.id from unnest(v_busy_tenants) as u (id))
                  and t.tenant_id not in (select u.id from unnest(v_open_tenants) as u (id)) then 0
              else greatest(0, least(t.owed + t.first + (v_turns - 1) * t.weight, t.room, v_room)) end::integer as most
            from (
              select w.tenant_id, w.first, w.weight, w.room, w.tenant_rank,
                coalesce(v_owed_jobs[array_position(v_owed, w.tenant_id)], 0) as owed,
                array_position(v_owed, w.tenant_id) as owed_rank
              from unnest(v_tenants, v_firsts, v_weights, v_rooms) with ordinality
                as w (tenant_id, first, weight, room, tenant_rank)
              union all
              select o.tenant_id, 0, 0, o.room, null, o.jobs, o.place
              from unnest(v_owed, v_owed_jobs, v_owed_rooms) with ordinality as o (tenant_id, jobs, room, place)
              where o.tenant_id not in (select w.id from unnest(v_tenants) as w (id))
            ) t
          ), job as (
            select b.job_id, b.place, ''::text as group_name, b.job_rank, t.tenant_id, t.first, t.weight, t.owed,
              t.owed_rank, t.tenant_rank
            from turn t cross join lateral (
              select w.job_id, w.ctid as place,
                row_number() over (order by purser.rank_of(w.priority, w.scheduled_for), w.job_id) as job_rank
              from purser.waiting w
              where w.tenant_id = t.tenant_id and w.job_type = v_type and w.group_name = '' and w.job_id <> all(v_busy)
              order by purser.rank_of(w.priority, w.scheduled_for), w.job_id limit t.most
            ) b
            where not v_has_groups
            union all
            select g.job_id, g.place, g.group_name, g.job_rank, g.tenant_id,
              (select array_agg(t.first order by t.number) from turn t)[g.tenant_number],
              (select array_agg(t.weight order by t.number) from turn t)[g.tenant_number],
              (select array_agg(t.owed order by t.number) from turn t)[g.tenant_number],
              (select array_agg(coalesce(t.owed_rank, 0) order by t.number) from turn t)[g.tenant_number],
              (select array_agg(coalesce(t.tenant_rank, 0) order by t.number) from turn t)[g.tenant_number]
            from purser.jobs_of_lanes(v_type, (select array_agg(t.tenant_id order by t.number) from turn t),
              (select array_agg(t.most order by t.number) from turn t), v_lane_tenants, v_lane_groups, v_lane_rooms,
              v_lane_shared, v_busy) g
            where v_has_groups
          )
          select j.*,
            case when j.job_rank <= j.owed then -1 else (j.job_rank - j.owed - j.first + j.weight - 1) / j.weight end
              as turn,
            case when j.job_rank <= j.owed then j.owed_rank else j.tenant_rank end as rank
          from job j
          order by turn, rank, j.job_rank limit v_room
        ) c;
        exit when cardinality(v_ids) >= v_room
          or ((v_is_closed or v_is_spent) and (v_turns >= v_room or not v_has_more));
        if v_is_closed or v_is_spent then
          v_turns := least(v_room, 2 * v_turns);
        else
          -- By how many jobs the tenants so far had of their turns, and twice as many tenants at least.
          v_served := coalesce(cardinality(v_ids), 0);
          v_wanted := greatest(2 * v_covered, v_covered
            + ((v_room - v_served)::bigint * v_covered / greatest(v_served, v_covered / 8, 1))::integer);
        end if;
      end loop;
      exit when v_tenants = '{}' and v_owed = '{}';
      v_served := cardinality(v_tenants);
      v_passed := v_served;
      v_paid := cardinality(v_owed);
      v_next_left := 0;
      if cardinality(v_ids) >= v_room then
        if v_job_turns[v_room] < 0 then
          v_served := 0;
          v_passed := 0;
          v_paid := v_ranks[v_room] - case when v_lefts[v_room] > 0 then 1 else 0 end;
        else
          v_served := v_ranks[v_room];
          v_next_left := v_lefts[v_room];
          v_passed := case when v_job_turns[v_room] > 0 then cardinality(v_tenants) else v_served end;
        end if;
      end if;
      v_retries := false;
      if v_has_limits and v_ids is not null then
        -- The limits of a tenant hold for all types: its rows are locked first. The next statement sees all that was
        -- added before.
        v_before := cardinality(v_held);
        v_limited_tenants := array(
          select f.id from (select distinct t.id from unnest(v_job_tenants) as t (id)) f
          where (
            select true from public.job_limits l
            where l.tenant_id = f.id and l.job_type in ('', v_type) and l.group_name = '' limit 1));
        v_held := v_held || array(
          select f.id from unnest(v_limited_tenants) as f (id)
          where (
            select count(*) from public.job_limits l
            where l.tenant_id = f.id and l.job_type in ('', v_type) and l.group_name = ''
          ) > (
            select count(*) from (
              select from public.job_limits l
              where l.tenant_id = f.id and l.job_type in ('', v_type) and l.group_name = ''
              for no key update skip locked) k));
        v_busy_tenants := v_busy_tenants || v_held;
        v_retries := v_retries or cardinality(v_held) > v_before;
        v_kept := array(
          select k.n from (
            select u.id, array_agg(u.n order by u.n) as places
            from unnest(v_job_tenants) with ordinality as u (id, n) group by u.id) f
          cross join lateral purser.room_of_tenant(f.id, v_type, v_chosen, v_claimed, cardinality(f.places)) r
          cross join lateral unnest(f.places[:case when f.id in (select h.id from unnest(v_held) as h (id)) then 0
            else coalesce(r.room, cardinality(f.places)) end]) as k (n));
        select array_agg(u.id order by u.n), array_agg(u.place order by u.n), array_agg(u.tenant_id order by u.n),
          array_agg(u.group_name order by u.n), array_agg(u.turn order by u.n)
        into v_ids, v_places, v_job_tenants, v_job_groups, v_job_turns
        from unnest(v_ids, v_places, v_job_tenants, v_job_groups, v_job_turns) with ordinality
          as u (id, place, tenant_id, group_name, turn, n)
        where (u.n in (select k.n from unnest(v_kept) as k (n))) is true;
      end if;
      v_locked := array(
        select l.job_id from unnest(v_ids, v_places) as u (id, place) cross join lateral (
          select w.job_id from purser.waiting w where w.ctid = u.place and w.job_id = u.id
          for update of w skip locked) l);
      exit when cardinality(v_locked) = coalesce(cardinality(v_ids), 0) and not v_retries;
      v_busy := v_busy || array(
        select u.id from unnest(v_ids) as u (id) where u.id not in (select l.id from unnest(v_locked) as l (id)));
      v_busy_tenants := v_busy_tenants || array(
        select distinct u.tenant_id from unnest(v_ids, v_job_tenants) as u (id, tenant_id)
        where u.id not in (select b.id from unnest(v_locked) as b (id)));
      select array_agg(u.id order by u.n), array_agg(u.place order by u.n), array_agg(u.tenant_id order by u.n),
        array_agg(u.group_name order by u.n), array_agg(u.turn order by u.n)
      into v_ids, v_places, v_job_tenants, v_job_groups, v_job_turns
      from unnest(v_ids, v_places, v_job_tenants, v_job_groups, v_job_turns) with ordinality
        as u (id, place, tenant_id, group_name, turn, n)
      where u.id not in (select b.id from unnest(v_busy) as b (id));
      v_open_tenants := coalesce(v_job_tenants, '{}');
    end loop;
    if v_tenants = '{}' and v_owed = '{}' then
      v_passed := 0;
    end if;
    if v_has_groups and v_may_start is distinct from false then
      -- Of those that had their turn, or could not have it.
      insert into purser.group_turns as g (tenant_id, job_type, last_group_name)
      select t.id, v_type, v_group_ends->>t.id from unnest(v_tenants[:v_passed] || v_full) as t (id)
      where v_group_ends ? t.id
      on conflict (tenant_id, job_type) do update set last_group_name = excluded.last_group_name;
    end if;
    if v_tenants = '{}' and v_owed = '{}' then
      if v_is_spent and not v_is_closed then
        update purser.dispatch_turns t set last_tenant_id = v_walked_to, left_of_turn = 0 where t.job_type = v_type;
      end if;
      continue;
    end if;

    if v_places is not null then
      v_size := greatest(1, least(v_size, (cardinality(v_places) + v_workers - 1) / greatest(1, v_workers)));
      v_random := array(select gen_random_uuid() from generate_series(0, (cardinality(v_places) - 1) / v_size));
      v_entries := v_entries
        || array(select v_random[1 + n / v_size] from generate_series(0, cardinality(v_places) - 1) n);
      v_all := v_all || v_places;
      if v_has_limits then
        v_chosen := v_chosen || (
          select jsonb_object_agg(c.id, c.jobs + coalesce((v_chosen->>c.id)::integer, 0)) from (
            select u.id, count(*) as jobs from unnest(v_job_tenants) as u (id) group by u.id) c);
        v_limited := v_limited || array(
          select v_type_room is not null or u.id in (select l.id from unnest(v_limited_tenants) as l (id))
            or v_has_group_limits and u.group_name <> ''
              and exists (select from purser.limits_of_group(u.id, u.group_name))
          from unnest(v_job_tenants, v_job_groups) with ordinality as u (id, group_name, n) order by u.n);
        if v_has_groups and v_has_group_limits then
          v_chosen_groups := v_chosen_groups || coalesce((
            select jsonb_object_agg(c.name, c.jobs + coalesce((v_chosen_groups->>c.name)::integer, 0)) from (
              select b.tenant_id || e'\n' || u.group_name as name, count(*) as jobs
              from unnest(v_job_tenants, v_job_groups) as u (id, group_name)
              cross join lateral (select u.id as tenant_id union all select '') b
              where u.group_name <> '' group by 1) c), '{}');
        end if;
        if v_has_starts then
          v_claimed := v_claimed || purser.claim_starts(
            v_type, v_ids, v_job_tenants, v_job_groups, v_claimed, coalesce(v_may_start, false));
        end if;
      end if;
    end if;
    if v_has_groups and v_may_start is distinct from false then
      insert into purser.group_seats as g (group_name, last_tenant_id)
      select distinct on (c.group_name) c.group_name, c.tenant_id from (
        select u.group_name, u.id as tenant_id, count(*) as jobs
        from unnest(v_job_tenants, v_job_groups) as u (id, group_name)
        where (u.group_name in (
          select l.group_name from unnest(v_lane_groups, v_lane_shared) as l (group_name, room)
          where l.room is not null group by l.group_name having count(*) > 1)) is true
        group by u.group_name, u.id) c
      left join purser.group_seats k on k.group_name = c.group_name
      order by c.group_name, c.jobs desc, c.tenant_id <= coalesce(k.last_tenant_id, '') desc, c.tenant_id desc
      on conflict (group_name) do update set last_tenant_id = excluded.last_tenant_id;
    end if;
    v_next_tenant := v_last_tenant;
    v_next_owed := v_all_owed;
    v_next_owed_jobs := v_all_owed_jobs;
    if p_only_tenant is not null then
      v_next_left := v_left;
    else
      if v_is_spent and not v_is_closed and v_passed = cardinality(v_tenants) then
        v_next_tenant := v_walked_to;
        v_next_left := 0;
      elsif v_served > 0 then
        v_next_tenant := v_tenants[v_served];
      else
        v_next_left := v_left;
      end if;
      if v_owed <> '{}' or v_still_owed <> '{}' or v_busy_tenants <> '{}' then
        -- Who had less than its turn because others held its rows or limits is owed it; at most one turn.
        with missed as (
          -- Those that were locked come last: they must not hold up the others.
          select o.id, case when o.id = any(v_busy_tenants) then 1500 else 0 end + o.place as n,
            o.jobs - count(j.id) as jobs
          from unnest(v_owed, v_owed_jobs) with ordinality as o (id, jobs, place)
          left join unnest(v_job_tenants, v_job_turns) as j (id, turn) on j.id = o.id and j.turn < 0
          where o.place > v_paid or o.id = any(v_busy_tenants)
          group by o.id, o.place, o.jobs
          union all
          select o.id, 1000 + o.place, o.jobs
          from unnest(v_still_owed, v_still_owed_jobs) with ordinality as o (id, jobs, place)
          union all
          select t.id, 2000 + t.place, t.first from unnest(v_tenants, v_firsts) with ordinality as t (id, first, place)
          where t.place <= v_passed and (t.id in (select b.id from unnest(v_busy_tenants) as b (id))) is true
            and t.id not in (select j.id from unnest(v_job_tenants, v_job_turns) as j (id, turn) where j.turn >= 0)
        ), each as (
          select m.id, min(m.n) as n, max(m.jobs) as jobs from missed m where m.jobs > 0 group by m.id
        ), listed as (
          select e.*, row_number() over (order by e.n) as number from each e
        )
        select coalesce(array_agg(l.id order by l.n) filter (where l.number <= v_most_owed), '{}'),
          coalesce(array_agg(l.jobs order by l.n) filter (where l.number <= v_most_owed), '{}'),
          min(l.n - 2001) filter (where l.number > v_most_owed and l.n > 2000)
        into v_next_owed, v_next_owed_jobs, v_cut from listed l;
        -- The walk goes on before the first one that the list has no place for.
        if v_cut < v_served then
          v_next_tenant := case when v_cut > 0 then v_tenants[v_cut] else v_last_tenant end;
          v_next_left := 0;
        end if;
      else
        v_next_owed := '{}';
        v_next_owed_jobs := '{}';
      end if;
    end if;
    if v_places is not null or v_next_tenant <> v_last_tenant or v_next_left <> v_left or v_next_owed <> v_all_owed
        or v_next_owed_jobs <> v_all_owed_jobs then
      update purser.dispatch_turns t
      set dispatched_at = case when v_places is null then t.dispatched_at else now() end,
          last_tenant_id = v_next_tenant, left_of_turn = v_next_left, owed_tenant_ids = v_next_owed,
          owed_jobs = v_next_owed_jobs
      where t.job_type = v_type;
    end if;
  end loop;
  if cardinality(v_all) = 0 then
    return;
  end if;
  with gone as (
    delete from purser.waiting w
    using unnest(v_all, v_entries, v_limited) with ordinality as u (place, entry_id, limited, n)
    where w.ctid = u.place
    returning w.*, coalesce(u.limited, false) as limited, u.n, u.entry_id,
      w.losses > 0 or w.suspect or w.job_id = any(v_claimed) as alone
  ), placed as materialized (
    select g.*, case when g.alone or g.payload_bytes > 32768 then gen_random_uuid() else g.entry_id end as own_entry_id
    from gone g
  ), queued as (
    insert into purser.in_flight (job_id, tenant_id, job_type, group_name, priority, scheduled_for, give_up_at, attempt,
      payload_bytes, failed, losses, losses_alone, suspect, needed_usd, first_parked_at, last_error, entry_id, limited)
    select g.job_id, g.tenant_id, g.job_type, g.group_name, g.priority, g.scheduled_for, g.give_up_at, g.attempt,
      g.payload_bytes, g.failed, g.losses, g.losses_alone, g.suspect, g.needed_usd, g.first_parked_at, g.last_error,
      g.own_entry_id, g.limited
    from placed g
  )
  select array_agg(g.job_id order by g.n), array_agg(g.job_type order by g.n), array_agg(g.tenant_id order by g.n),
    array_agg(g.own_entry_id order by g.n), array_agg(g.alone order by g.n), array_agg(g.priority order by g.n)
  into v_ids, v_types, v_tenants, v_entries, v_alone, v_priorities from placed g;
  return query select * from unnest(v_ids, v_types, v_tenants, v_entries, v_alone, v_priorities);
end
$$;

-- Moves queued jobs back to waiting: p_entry_ids has the entry that each was dispatched in. One that was dispatched
-- again meanwhile, or has begun, stays; one that another transaction has locked is left out.
create function purser.return_jobs(p_job_ids bigint[], p_entry_ids uuid[], p_reason text) returns integer
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set lock_timeout = '2s' set jit = off
as $$
declare
  v_returned integer;
begin
  with unlocked as materialized (
    select f.* from unnest(p_job_ids, p_entry_ids) as r (id, entry_id) cross join lateral (
      select s.* from purser.in_flight s where s.job_id = r.id and s.entry_id = r.entry_id and s.token is null
      for update of s skip locked) f
  ), gone as (
    delete from purser.in_flight s using unlocked u where s.job_id between u.job_id and u.job_id
  ), waiting as (
    insert into purser.waiting (job_id, tenant_id, job_type, group_name, priority, scheduled_for, give_up_at, attempt,
      payload_bytes, losses, losses_alone, suspect, needed_usd, first_parked_at, detail, last_error)
    select u.job_id, u.tenant_id, u.job_type, u.group_name, u.priority, u.scheduled_for, u.give_up_at, u.attempt,
      u.payload_bytes, u.losses, u.losses_alone, u.suspect, u.needed_usd, u.first_parked_at,
      jsonb_build_object('reason', p_reason), u.last_error
    from unlocked u
  ), recorded as (
    insert into purser.job_history (job_id, tenant_id, from_state, to_state, attempt, retried, queued_at, detail)
    select u.job_id, u.tenant_id, 'queued', 'pending', u.attempt, u.failed, u.queued_at,
      jsonb_build_object('reason', p_reason)
    from unlocked u
  )
  select count(*) into v_returned from unlocked;
  if v_returned > 0 then
    perform purser.wake_dispatcher(now());
  end if;
  return v_returned;
end
$$;

-- Starts attempts. Payloads are answered as text, p_max_bytes of them: a job beyond that has no payload in the answer
-- and has not begun. A repeated request, whose answer was lost, is answered with the attempt that it started.
-- p_job_ids is in ascending order. p_may_be_lost: the answer does not wait for the disk, unless a begin was a start of
-- which a limit allows so many only.
create function purser.begin_attempts(
  p_job_ids bigint[], p_entry_ids uuid[], p_tokens uuid[], p_worker_id text, p_lease interval, p_max_bytes bigint,
  p_may_be_lost boolean)
returns table (job_id bigint, tenant_id text, job_type text, payload text, attempt integer, max_attempts integer,
  token uuid, suspect boolean, losses_alone integer)
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set lock_timeout = '2s' set jit = off
as $$
#variable_conflict use_column
declare
  -- How many of the requests are begun: those whose payloads fit into the answer, and always the first.
  v_fitting integer := cardinality(p_job_ids);
  v_bytes bigint;
  v_permits tid[];
  v_is_counted boolean := false;
  v_policy text := current_setting('synchronous_commit');
begin
  if p_may_be_lost then
    perform set_config('synchronous_commit', 'off', true);
  end if;
  select sum(s.payload_bytes) into v_bytes from unnest(p_job_ids) as r (job_id)
  cross join lateral (
    select f.payload_bytes from purser.in_flight f where f.job_id between r.job_id and r.job_id) s;
  if v_bytes > p_max_bytes then
    select greatest(1, count(*) filter (where t.so_far <= p_max_bytes)) into v_fitting from (
      select sum(coalesce(s.payload_bytes, 0)) over (order by r.place) as so_far
      from unnest(p_job_ids) with ordinality as r (job_id, place)
      left join lateral (
        select f.payload_bytes from purser.in_flight f where f.job_id between r.job_id and r.job_id) s on true) t;
  end if;
  update purser.in_flight s
  set attempt = s.attempt + 1, token = r.token, worker_id = p_worker_id, started_at = now(),
      expires_at = now() + p_lease, alone = s.suspect
  from unnest(p_job_ids[:v_fitting], p_entry_ids[:v_fitting], p_tokens[:v_fitting]) as r (job_id, entry_id, token)
  where s.job_id between r.job_id and r.job_id and s.entry_id = r.entry_id and s.token is null;
  if exists (select from purser.rate_slots s where s.started_at = 'infinity') then
    v_permits := array(
      select l.place
      from unnest(p_job_ids[:v_fitting], p_tokens[:v_fitting]) as r (job_id, token)
      cross join lateral purser.locked_permits(r.job_id) l
      where (select true from purser.in_flight f where f.job_id = r.job_id and f.token = r.token limit 1));
    update purser.rate_slots s set started_at = now() from unnest(v_permits) as l (place) where s.ctid = l.place;
    v_is_counted := found;
  end if;
  if v_is_counted then
    perform set_config('synchronous_commit', case v_policy when 'off' then 'on' else v_policy end, true);
  end if;
  -- A snapshot of its own: a request that waited for its first one sees the attempt.
  return query
  select s.job_id, s.tenant_id, s.job_type, case when r.place <= v_fitting then j.payload::text end, s.attempt,
    j.max_attempts, r.token, s.suspect, s.losses_alone
  from unnest(p_job_ids, p_entry_ids, p_tokens) with ordinality as r (job_id, entry_id, token, place)
  cross join lateral (
    select f.* from purser.in_flight f
    where f.job_id between r.job_id and r.job_id and f.entry_id = r.entry_id
      and case when r.place <= v_fitting then f.token = r.token else coalesce(f.token = r.token, true) end) s
  cross join lateral (
    select b.payload, b.max_attempts from public.jobs b where b.id between s.job_id and s.job_id) j;
end
$$;

-- Locks the rows of these attempts that no other transaction has locked. Returns their jobs.
create function purser.lock_attempts(p_job_ids bigint[], p_tokens uuid[]) returns bigint[]
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set jit = off
as $$
begin
  return array(
    select f.job_id from unnest(p_job_ids, p_tokens) as r (job_id, token) cross join lateral (
      select s.job_id from purser.in_flight s where s.job_id between r.job_id and r.job_id and s.token = r.token
      for update of s skip locked) f);
end
$$;

-- Ends attempts as completed: the end of nearly all, and so with a plan of its own. p_job_ids is in ascending order.
-- Answers for those that this call did not end: repeated by an earlier call with this token, or stale, refused.
-- Whoever ends an attempt deletes its row in in_flight, and so waits for a commit that has fenced it. That wait fails soon;
-- with p_skip_locked there is none, and such an attempt is answered as locked: it has not ended.
create function purser.finish_completed(
  p_job_ids bigint[], p_tokens uuid[], p_results text[], p_skip_locked boolean default false)
returns table (job_id bigint, result text)
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set lock_timeout = '200ms' set jit = off
as $$
#variable_conflict use_column
declare
  v_unlocked bigint[];
  v_ended bigint[];
  v_limited boolean;
begin
  if p_skip_locked then
    v_unlocked := purser.lock_attempts(p_job_ids, p_tokens);
  end if;
  with ended as (
    delete from purser.in_flight s using unnest(p_job_ids, p_tokens, p_results) as r (job_id, token, result)
    where s.job_id between r.job_id and r.job_id and s.token = r.token
      and (v_unlocked is null or s.job_id = any(v_unlocked))
    returning s.job_id, s.tenant_id, s.job_type, s.attempt, s.failed, s.last_error, s.scheduled_for, s.queued_at,
      s.started_at, s.worker_id, s.token, s.limited, r.result
  ), over as (
    update public.jobs j
    set outcome = 'completed', result = e.result::jsonb, error = e.last_error, attempt = e.attempt,
        scheduled_for = e.scheduled_for, queued_at = e.queued_at, started_at = e.started_at,
        finished_at = clock_timestamp(), encryption_key_version = null
    from ended e where j.id between e.job_id and e.job_id
  ), counted as (
    insert into purser.job_counts (job_type, outcome, jobs)
    select e.job_type, 'completed', count(*) from ended e group by e.job_type
  ), recorded as (
    insert into purser.job_history (job_id, tenant_id, to_state, attempt, retried, queued_at, started_at, worker_id,
      token)
    select e.job_id, e.tenant_id, 'completed', e.attempt, e.failed, e.queued_at, e.started_at, e.worker_id, e.token
    from ended e
  )
  select array_agg(e.job_id), bool_or(e.limited) into v_ended, v_limited from ended e;
  if v_limited then
    -- Another job of the same limit may start.
    perform purser.wake_dispatcher(now());
  end if;
  if coalesce(cardinality(v_ended), 0) < cardinality(p_job_ids) then
    -- A snapshot of its own: a call that waited for another end of the same attempt sees it here.
    return query
    select r.job_id, coalesce(h.answer, l.answer, 'stale')
    from unnest(p_job_ids, p_tokens) as r (job_id, token) left join lateral (
      select 'repeated' as answer from purser.job_history e where e.job_id = r.job_id and e.token = r.token limit 1) h
      on true
    left join lateral (
      select 'locked' as answer from purser.in_flight s
      where s.job_id between r.job_id and r.job_id and s.token = r.token) l on true
    where r.job_id <> all(coalesce(v_ended, '{}'));
  end if;
end
$$;

-- Ends attempts: applied by this call, repeated by an earlier call with this token, locked as in finish_completed; a
-- refused one is not answered. p_requests is ordered by job id.
create function purser.finish_attempts(
  p_requests jsonb, p_crashes_of_suspect integer, p_skip_locked boolean default false)
returns table (job_id bigint, result text)
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set lock_timeout = '200ms' set jit = off
as $$
#variable_conflict use_column
declare
  v_unlocked bigint[];
  v_applied bigint[];
  -- Of those that wait again.
  v_due_at timestamptz;
begin
  if p_skip_locked then
    select purser.lock_attempts(array_agg(r.job_id), array_agg(r.token)) into v_unlocked
    from jsonb_to_recordset(p_requests) as r (job_id bigint, token uuid);
  end if;
  with request as materialized (
    select * from jsonb_to_recordset(p_requests) as r (
      job_id bigint, token uuid, to_state text, result jsonb, error jsonb, scheduled_for timestamptz, after_ms float8,
      counts boolean, detail jsonb, needed_usd numeric, suspect boolean, shared_loss int, isolated_loss int)
  ), gate as materialized (
    select r.job_id, r.token, r.result, r.error, r.counts, r.needed_usd, r.suspect as now_suspect, r.shared_loss,
      r.isolated_loss, nullif(r.detail, '{}') as detail, f.tenant_id, f.job_type, f.group_name, f.priority, f.attempt,
      f.attempt - case when r.counts then 0 else 1 end as attempt_after, f.payload_bytes, f.failed, f.losses,
      f.losses_alone, f.suspect, f.first_parked_at, f.last_error, f.queued_at, f.started_at, f.worker_id, f.give_up_at,
      f.limited,
      coalesce(r.scheduled_for, now() + r.after_ms * interval '1 millisecond', case when r.to_state = 'parked'
        then (date_trunc('month', now() at time zone 'utc') + interval '1 month') at time zone 'utc' end, f.scheduled_for)
        as scheduled_for,
      case when f.cancel_requested is not null and r.to_state in ('pending', 'failed', 'parked') then f.cancel_requested
        end as cancelled_by,
      case when f.cancel_requested is not null and r.to_state in ('pending', 'failed', 'parked') then 'cancelled'
        else r.to_state end as state
    from request r cross join lateral (
      select s.* from purser.in_flight s
      where s.job_id = r.job_id and s.token = r.token and (v_unlocked is null or s.job_id = any(v_unlocked))
      for update of s) f
  ), gone as (
    delete from purser.in_flight s using gate g where s.job_id between g.job_id and g.job_id
  ), ended as materialized (
    select g.*, case when g.cancelled_by is null then g.detail
        else jsonb_build_object('by', g.cancelled_by->'by', 'reason', g.cancelled_by->'reason') end as said,
      g.state in ('completed', 'dead_letter', 'cancelled') as is_over
    from gate g
  ), over as (
    update public.jobs j
    set outcome = e.state, result = e.result, error = coalesce(e.error, e.last_error), end_detail = e.said,
        attempt = e.attempt_after, scheduled_for = e.scheduled_for, queued_at = e.queued_at, started_at = e.started_at,
        finished_at = clock_timestamp(),
        encryption_key_version = case when e.state = 'dead_letter' then j.encryption_key_version end
    from ended e where j.id between e.job_id and e.job_id and e.is_over
  ), dead as (
    insert into purser.dead_letters (job_id, tenant_id, finished_at)
    select e.job_id, e.tenant_id, clock_timestamp() from ended e where e.state = 'dead_letter'
  ), counted as (
    insert into purser.job_counts (job_type, outcome, jobs)
    select e.job_type, e.state, count(*) from ended e where e.is_over group by e.job_type, e.state
  ), open as materialized (
    select e.job_id, e.tenant_id, e.job_type, e.group_name, e.priority, e.scheduled_for,
      -- A parked job may wait for two budget periods, counted from the first parking. Running time is no waiting time.
      case when e.state = 'parked' then greatest(e.give_up_at, coalesce(e.first_parked_at, now()) + interval '62 days')
        else e.give_up_at + (clock_timestamp() - e.started_at) end as give_up_at,
      e.attempt_after, e.payload_bytes, e.state,
      case when e.now_suspect is false then 0 else e.losses + e.shared_loss end as losses,
      case when e.now_suspect is false then 0 else e.losses_alone + e.isolated_loss end as losses_alone,
      coalesce(e.now_suspect, e.suspect or e.shared_loss = 1 and e.losses + 1 >= p_crashes_of_suspect) as suspect,
      e.needed_usd, case when e.state = 'parked' then coalesce(e.first_parked_at, now()) else e.first_parked_at end
        as first_parked_at, coalesce(e.said, '{}') as said, coalesce(e.error, e.last_error) as last_error
    from ended e where not e.is_over
  ), due as (
    insert into purser.waiting
    select o.job_id, o.tenant_id, o.job_type, o.group_name, o.priority, o.scheduled_for, o.give_up_at, o.attempt_after,
      o.payload_bytes, o.state = 'failed', o.losses, o.losses_alone, o.suspect, o.needed_usd, o.first_parked_at,
      o.said, o.last_error
    from open o where o.state in ('pending', 'failed') and o.scheduled_for <= now()
  ), postponed as (
    insert into purser.later
    select o.job_id, o.tenant_id, o.job_type, o.group_name, o.priority, o.scheduled_for, o.give_up_at, o.attempt_after,
      o.payload_bytes, o.state = 'failed', o.losses, o.losses_alone, o.suspect, o.needed_usd, o.first_parked_at,
      o.said, o.last_error
    from open o where o.state in ('pending', 'failed') and o.scheduled_for > now()
  ), parked as (
    insert into purser.parked
    select o.job_id, o.tenant_id, o.job_type, o.group_name, o.priority, o.scheduled_for, o.give_up_at, o.attempt_after,
      o.payload_bytes, false, o.losses, o.losses_alone, o.suspect, o.needed_usd, o.first_parked_at,
      o.said, o.last_error
    from open o where o.state = 'parked'
  ), recorded as (
    insert into purser.job_history (job_id, tenant_id, to_state, attempt, counted, retried, queued_at, started_at,
      worker_id, token, error_code, detail)
    select e.job_id, e.tenant_id, e.state, e.attempt, e.counts, e.failed, e.queued_at, e.started_at, e.worker_id, e.token,
      e.error->>'code', e.said
    from ended e
  )
  -- Where it counted for a limit, another job may start.
  select array_agg(e.job_id), min(case when e.limited then now() when e.state in ('pending', 'failed') then e.scheduled_for end)
  into v_applied, v_due_at from ended e;
  perform purser.wake_dispatcher(v_due_at);
  return query select a.id, 'applied' from unnest(v_applied) a (id);
  if coalesce(cardinality(v_applied), 0) < jsonb_array_length(p_requests) then
    -- A snapshot of its own: a call that waited for another end of the same attempt sees it here.
    return query
    select r.job_id, coalesce(h.answer, l.answer)
    from jsonb_to_recordset(p_requests) as r (job_id bigint, token uuid) left join lateral (
      select 'repeated' as answer from purser.job_history e where e.job_id = r.job_id and e.token = r.token limit 1) h
      on true
    left join lateral (
      select 'locked' as answer from purser.in_flight s where s.job_id = r.job_id and s.token = r.token) l on true
    where r.job_id <> all(coalesce(v_applied, '{}')) and coalesce(h.answer, l.answer) is not null;
  end if;
end
$$;

-- Ends jobs that have not begun: cancelled, or as dead letters that waited for too long. Returns their ids. A job that
-- moves at this moment can be in no table of the snapshot, and is then left out.
create function purser.end_waiting(p_job_ids bigint[], p_outcome text, p_detail jsonb) returns setof bigint
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set jit = off
as $$
begin
  return query
  with due as (
    delete from purser.waiting s where s.job_id = any(p_job_ids) returning s.*
  ), postponed as (
    delete from purser.later s where s.job_id = any(p_job_ids) returning s.*
  ), parked as (
    delete from purser.parked s where s.job_id = any(p_job_ids) returning s.*
  ), queued as (
    delete from purser.in_flight s where s.job_id = any(p_job_ids) and s.token is null returning s.*
  ), gone as materialized (
    select s.job_id, s.tenant_id, s.job_type, s.attempt, s.scheduled_for, s.failed, s.last_error,
      null::timestamptz as queued_at, case when s.failed then 'failed' else 'pending' end as state
    from (select * from due union all select * from postponed) s
    union all
    select s.job_id, s.tenant_id, s.job_type, s.attempt, s.scheduled_for, s.failed, s.last_error, null, 'parked'
    from parked s
    union all
    select s.job_id, s.tenant_id, s.job_type, s.attempt, s.scheduled_for, s.failed, s.last_error, s.queued_at, 'queued'
    from queued s
  ), over as (
    update public.jobs j
    set outcome = p_outcome, end_detail = p_detail, attempt = g.attempt, scheduled_for = g.scheduled_for,
        queued_at = g.queued_at, finished_at = clock_timestamp(),
        encryption_key_version = case when p_outcome = 'dead_letter' then j.encryption_key_version end,
        error = case when p_outcome = 'dead_letter' then jsonb_build_object('code', 'expired',
            'message', format('waited in state %s for longer than giveUpAfter', g.state)) else g.last_error end
    from gone g where j.id between g.job_id and g.job_id
  ), dead as (
    insert into purser.dead_letters (job_id, tenant_id, finished_at)
    select g.job_id, g.tenant_id, clock_timestamp() from gone g where p_outcome = 'dead_letter'
  ), counted as (
    insert into purser.job_counts (job_type, outcome, jobs)
    select g.job_type, p_outcome, count(*) from gone g group by g.job_type
  ), recorded as (
    insert into purser.job_history (job_id, tenant_id, from_state, to_state, attempt, retried, queued_at, error_code,
      detail)
    select g.job_id, g.tenant_id, g.state, p_outcome, g.attempt, g.failed, g.queued_at,
      case when p_outcome = 'dead_letter' then 'expired' end, p_detail
    from gone g
  )
  select g.job_id from gone g;
  if exists (select from public.job_limits) then
    perform purser.wake_dispatcher(now());
  end if;
end
$$;

-- Cancels a waiting job, or asks the worker of a running one to. An earlier request stays as it is. One snapshot: a job
-- that a dispatch, a begin or a finish moves at this moment may be in no table of it; then nothing is changed, and none
-- of ended, cancelled and asked is true. No row: there is no such job.
create function purser.cancel_job(p_job_id bigint, p_by text, p_reason text)
returns table (state text, ended boolean, cancelled boolean, asked boolean)
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off
as $$
#variable_conflict use_column
begin
  return query
  with cancelled as (
    select from purser.end_waiting(array[p_job_id], 'cancelled', jsonb_build_object('by', p_by, 'reason', p_reason))
  ), attempt as (
    select f.job_id, f.token, f.cancel_requested from purser.in_flight f
    where f.job_id = p_job_id and f.token is not null
  ), asked as (
    update purser.in_flight f
    set cancel_requested = jsonb_build_object('by', p_by, 'reason', p_reason, 'at', now())
    from attempt a where f.job_id = p_job_id and f.token = a.token and f.cancel_requested is null
    returning f.token
  )
  select j.outcome, j.outcome is not null, exists (select from cancelled),
    exists (select from asked) or exists (select from attempt where cancel_requested is not null)
  from public.jobs j where j.id = p_job_id;
end
$$;

-- Ends jobs that have waited for longer than giveUpAfter of their type. p_job_ids null: all. Returns their number.
create function purser.expire_waiting(p_job_ids bigint[], p_offset interval, p_limit integer) returns integer
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off
set lock_timeout = '2s' set jit = off
as $$
declare
  v_late bigint[];
begin
  with due as (
    select s.job_id from purser.waiting s
    where s.give_up_at < now() + p_offset and (p_job_ids is null or s.job_id = any(p_job_ids))
    order by s.give_up_at limit p_limit for update skip locked
  ), postponed as (
    select s.job_id from purser.later s
    where s.give_up_at < now() + p_offset and (p_job_ids is null or s.job_id = any(p_job_ids))
    order by s.give_up_at limit p_limit for update skip locked
  ), parked as (
    select s.job_id from purser.parked s
    where s.give_up_at < now() + p_offset and (p_job_ids is null or s.job_id = any(p_job_ids))
    order by s.give_up_at limit p_limit for update skip locked
  ), queued as (
    select s.job_id from purser.in_flight s
    where s.token is null and s.give_up_at < now() + p_offset and (p_job_ids is null or s.job_id = any(p_job_ids))
    order by s.give_up_at limit p_limit for update skip locked
  )
  select array_agg(t.job_id) into v_late from (
    select job_id from due union all select job_id from postponed union all select job_id from parked
    union all select job_id from queued
  ) t cross join lateral (
    -- A job whose row is locked, by a rotation of its payload, would hold up the others.
    select from public.jobs j where j.id = t.job_id for no key update skip locked) j;
  return (select count(*) from purser.end_waiting(v_late, 'dead_letter', '{"reason": "expired"}'));
end
$$;

-- Wakes parked jobs: all that are due, and of the others, by priority, as many as their tenant's available budget
-- covers. A woken job keeps needed_usd until its attempt ends and is counted against that budget, so that a small
-- top-up does not wake more jobs in every sweep. p_job_ids null: all. Returns their number.
create function purser.wake_parked(p_job_ids bigint[], p_offset interval) returns integer
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set lock_timeout = '2s' set jit = off
as $$
declare
  v_woken integer;
begin
  if not exists (select from purser.parked) then
    return 0;
  end if;
  -- By tenant, each of those with parked jobs by its own index probes: a join would compare each job with each tenant.
  with tenant as materialized (
    select t.tenant_id, b.hard_limit, b.available_usd, coalesce(a.needed_usd, 0) as awake_usd
    from (select distinct p.tenant_id from purser.parked p) t
    left join lateral (
      select s.hard_limit, s.available_usd from public.llm_budget_status s where s.tenant_id = t.tenant_id offset 0) b
      on true
    cross join lateral (
      select sum(n.needed_usd) as needed_usd from (
        select s.needed_usd from purser.waiting s where s.tenant_id = t.tenant_id and s.needed_usd is not null
        union all
        select s.needed_usd from purser.later s where s.tenant_id = t.tenant_id and s.needed_usd is not null
        union all
        select s.needed_usd from purser.in_flight s where s.tenant_id = t.tenant_id and s.needed_usd is not null) n) a
  ), parked as materialized (
    select p.job_id, p.is_due, t.hard_limit, t.available_usd, t.awake_usd + p.needed_usd as needed_so_far
    from tenant t cross join lateral (
      select s.job_id, s.scheduled_for <= now() + p_offset as is_due,
        sum(s.needed_usd) over (order by s.priority desc, s.scheduled_for, s.job_id) as needed_usd
      from purser.parked s where s.tenant_id = t.tenant_id offset 0) p
  ), unlocked as materialized (
    select s.job_id, p.is_due from purser.parked s join parked p on p.job_id = s.job_id
    where (p.is_due or p.hard_limit is false or p.needed_so_far <= p.available_usd)
      and (p_job_ids is null or s.job_id = any(p_job_ids))
    for update of s skip locked
  ), gone as (
    delete from purser.parked s using unlocked u where s.job_id between u.job_id and u.job_id returning s.*, u.is_due
  ), woken as (
    insert into purser.waiting
    select g.job_id, g.tenant_id, g.job_type, g.group_name, g.priority, now(),
      now() + t.give_up_after_ms * interval '1 millisecond',
      g.attempt, g.payload_bytes, false, g.losses, g.losses_alone, g.suspect, g.needed_usd, g.first_parked_at,
      jsonb_build_object('reason', case when g.is_due then 'parked until now' else 'budget has room' end), g.last_error
    from gone g join public.job_types t on t.job_type = g.job_type
    returning job_id
  ), recorded as (
    insert into purser.job_history (job_id, tenant_id, from_state, to_state, attempt, detail)
    select g.job_id, g.tenant_id, 'parked', 'pending', g.attempt,
      jsonb_build_object('reason', case when g.is_due then 'parked until now' else 'budget has room' end)
    from gone g
  )
  select count(*) into v_woken from woken;
  if v_woken > 0 then
    perform purser.wake_dispatcher(now());
  end if;
  return v_woken;
end
$$;

-- Adds up the counts of ended jobs; the rows of one that another transaction has locked are left as they are.
create function purser.add_up_job_counts() returns void
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set lock_timeout = '2s'
as $$
begin
  with part as materialized (
    select c.ctid as place, c.job_type, c.outcome, c.jobs from purser.job_counts c for update skip locked
  ), gone as (
    delete from purser.job_counts c using part p where c.ctid = p.place
  )
  insert into purser.job_counts (job_type, outcome, jobs)
  select p.job_type, p.outcome, sum(p.jobs) from part p group by p.job_type, p.outcome having sum(p.jobs) <> 0;
end
$$;

-- Ends the attempts of these jobs whose lease ran out p_offset from now: the worker died or is cut off. They are not
-- counted; after p_crashes_of_suspect such ends a job is a suspect. One that ran in a process of its own is not blamed
-- for the death of its worker; as it may still be the cause, by its memory, it waits longer each time, for
-- p_max_delay_s at most. Rows that another transaction has locked (a commit, an end, a renewal, a wish to cancel) are
-- left for the next sweep. p_job_ids null: all. Returns the new states.
create function purser.rescue_attempts(
  p_job_ids bigint[], p_offset interval, p_limit integer, p_crashes_of_suspect integer, p_max_delay_s integer)
returns table (state text)
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off
set lock_timeout = '2s' set jit = off
as $$
#variable_conflict use_column
begin
  return query
  with expired as materialized (
    select f.* from purser.in_flight f
    where f.expires_at < now() + p_offset and (p_job_ids is null or f.job_id = any(p_job_ids))
    order by f.job_id limit p_limit for update skip locked
  ), lost as materialized (
    -- A job whose row is locked, by a rotation of its payload, would hold up the others.
    select e.*, e.cancel_requested is not null as is_cancelled,
      case when e.cancel_requested is not null
        then jsonb_build_object('by', e.cancel_requested->'by', 'reason', e.cancel_requested->'reason')
        else jsonb_build_object('reason', 'worker lost', 'worker', e.worker_id, 'isolated', e.alone) end as said,
      case when e.alone then now() + least(2 ^ least(e.losses, 20), p_max_delay_s) * interval '1 second'
        else e.scheduled_for end as due_at
    from expired e cross join lateral (
      select from public.jobs j where j.id = e.job_id for no key update skip locked) j
  ), gone as (
    delete from purser.in_flight f using lost l where f.job_id between l.job_id and l.job_id
  ), over as (
    update public.jobs j
    set outcome = 'cancelled', error = l.last_error, end_detail = l.said, attempt = l.attempt,
        scheduled_for = l.due_at, queued_at = l.queued_at, started_at = l.started_at, finished_at = clock_timestamp(),
        encryption_key_version = null
    from lost l where j.id between l.job_id and l.job_id and l.is_cancelled
  ), counted as (
    insert into purser.job_counts (job_type, outcome, jobs)
    select l.job_type, 'cancelled', count(*) from lost l where l.is_cancelled group by l.job_type
  ), open as materialized (
    select l.job_id, l.tenant_id, l.job_type, l.group_name, l.priority, l.due_at,
      l.give_up_at + (clock_timestamp() - l.started_at) as give_up_at, l.attempt - 1 as attempt, l.payload_bytes,
      false as failed, l.losses + 1 as losses, l.losses_alone,
      l.suspect or l.alone or l.losses + 1 >= p_crashes_of_suspect as suspect, l.needed_usd, l.first_parked_at, l.said,
      l.last_error
    from lost l where not l.is_cancelled
  ), due as (
    insert into purser.waiting select o.* from open o where o.due_at <= now()
  ), postponed as (
    insert into purser.later select o.* from open o where o.due_at > now()
  ), recorded as (
    insert into purser.job_history (job_id, tenant_id, to_state, attempt, counted, retried, queued_at, started_at,
      worker_id, error_code, detail)
    select l.job_id, l.tenant_id, case when l.is_cancelled then 'cancelled' else 'pending' end, l.attempt,
      l.is_cancelled, l.failed, l.queued_at, l.started_at, l.worker_id, 'worker_lost', l.said
    from lost l
  )
  select case when l.is_cancelled then 'cancelled' else 'pending' end from lost l;
  if found then
    perform purser.wake_dispatcher(now());
  end if;
end
$$;

-- Last statement of a handler's transaction that completes its job (ctx.sql.begin with complete: true), in place of
-- the commit fence: effects, child jobs and completion are one commit, so that a result is there if and only if its
-- effects are. A result that is too large or nested too deep is replaced by a note, as for a result that a handler
-- returns.
create function purser.complete_attempt(p_result jsonb) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_token uuid := purser.token_from_session();
  v_attempt purser.in_flight;
  v_bytes bigint := octet_length(p_result::text);
  v_result jsonb := case
    when v_bytes > 1048576 then jsonb_build_object('purser', 'result cut', 'reason', 'too large', 'bytes', v_bytes,
      'limitBytes', 1048576, 'start', left(p_result::text, 10000))
    when jsonb_path_exists(p_result, 'strict $.**{100} ? (@.type() == "object" || @.type() == "array")', '{}', true)
      then jsonb_build_object('purser', 'result not stored', 'reason', 'nested more than 100 levels deep')
    else p_result end;
begin
  delete from purser.in_flight f where f.job_id = purser.job_of_token(v_token) and f.token = v_token
  returning f.* into v_attempt;
  if not found then
    raise exception 'stale_token: this attempt ended or was taken over; nothing is completed, its effects are rolled back'
      using errcode = 'PU002';
  end if;
  update public.jobs j
  set outcome = 'completed', result = v_result, error = v_attempt.last_error,
      end_detail = '{"by": "handler transaction"}', attempt = v_attempt.attempt,
      scheduled_for = v_attempt.scheduled_for, queued_at = v_attempt.queued_at, started_at = v_attempt.started_at,
      finished_at = clock_timestamp(), encryption_key_version = null
  where j.id = v_attempt.job_id;
  if v_attempt.limited then
    perform purser.wake_dispatcher(now());
  end if;
  insert into purser.job_counts (job_type, outcome, jobs) values (v_attempt.job_type, 'completed', 1);
  insert into purser.job_history (job_id, tenant_id, to_state, attempt, retried, queued_at, started_at, worker_id,
    token, detail)
  values (v_attempt.job_id, v_attempt.tenant_id, 'completed', v_attempt.attempt, v_attempt.failed, v_attempt.queued_at,
    v_attempt.started_at, v_attempt.worker_id, v_token, '{"by": "handler transaction"}');
end
$$;

select purser.allow_tenant('purser.enqueue_child(text,jsonb,text,timestamp with time zone,integer,text)');
select purser.allow_tenant('purser.complete_attempt(jsonb)');
select purser.allow_tenant('purser.is_job_open(text,text)');
