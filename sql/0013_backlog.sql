-- Limits of a tenant's backlog: of the jobs that are enqueued and have not begun, by number and by bytes of payload
-- (tenants.max_backlog_*, else plans.max_backlog_*, else none). The backlog is counted from the rows of its jobs, so no
-- figure can be wrong after a crash. A request is compared with what is committed when it is made, and again at the commit
-- of its transaction, after those that committed meanwhile: at the tenant's gate, which a transaction passes alone. So no
-- transaction waits for another one that is open. Only the doors of new jobs ask: a retry, a rescue, a scheduled tick and
-- a replay by an operator are never refused, and count. SQLSTATE: PU012 backlog_full.

create index ix_later_tenant_id on purser.later (tenant_id);

create table purser.backlog_gates (
  tenant_id text primary key references public.tenants (id) on delete cascade,
  -- Transactions that passed with new jobs.
  passed bigint not null default 1
) with (fillfactor = 50);

-- What an open transaction has to check at its commit. Rows live within their transaction.
create table purser.backlog_checks (
  transaction_id xid8 not null default pg_current_xact_id(),
  tenant_id text not null,
  -- Of the gate, before the backlog was first counted.
  passed bigint not null,
  first_job_id bigint not null,
  primary key (transaction_id, tenant_id)
);
alter table purser.backlog_checks set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- Payload bytes of the tenant's queued jobs. The table is read as a whole: it is as short as the queues are kept, and
-- another index would cost every dispatch. Stable: it sees what the statement sees that calls it.
create function purser.queued_bytes(p_tenant_id text) returns setof integer
language plpgsql stable
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_indexscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  return query select s.payload_bytes from purser.in_flight s where s.tenant_id = p_tenant_id and s.token is null;
end
$$;

-- The tenant's backlog; p_most: as soon as it has so many jobs, the others are not counted. One snapshot: a job that
-- moves at this moment is counted once.
create function purser.backlog(p_tenant_id text, p_most bigint, out jobs bigint, out bytes bigint)
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_bitmapscan = off set enable_sort = off set jit = off
as $$
begin
  select count(*), coalesce(sum(b.payload_bytes), 0) into jobs, bytes from (
    select w.payload_bytes from public.job_types y cross join lateral (
      select s.payload_bytes from purser.waiting s where s.job_type = y.job_type and s.tenant_id = p_tenant_id offset 0) w
    union all
    select s.payload_bytes from purser.later s where s.tenant_id = p_tenant_id
    union all
    select s.payload_bytes from purser.parked s where s.tenant_id = p_tenant_id
    union all
    select q from purser.queued_bytes(p_tenant_id) q
    limit p_most) b;
end
$$;

-- How far the jobs of a backlog are counted: beyond its limit, so that the error says how full it is.
create function purser.most_counted(p_max_jobs bigint) returns bigint language sql immutable
set search_path = pg_catalog, pg_temp as $$ select 2 * p_max_jobs + 1000 $$;

-- p_unit: jobs or bytes. p_place: of the request, among many. The time is a fixed hint: nobody knows when jobs will begin.
create function purser.refuse_backlog(
  p_tenant_id text, p_unit text, p_limit bigint, p_have bigint, p_asked bigint, p_place bigint default null)
returns void language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'backlog_full: %tenant "%" has % that have not begun; % more would exceed its limit of %',
      case when p_place is null then '' else format('request %s: ', p_place) end, left(p_tenant_id, 200),
      p_have || case p_unit when 'jobs' then ' jobs' else ' bytes of payload in jobs' end, p_asked, p_limit
    using errcode = 'PU012',
      detail = jsonb_strip_nulls(jsonb_build_object('tenantId', p_tenant_id, 'unit', p_unit, 'limit', p_limit,
        'have', p_have, 'asked', p_asked, 'request', p_place, 'retryAfterMs', 5000)),
      hint = format('Try again in 5 s, when some have begun, or let an operator raise the limit: purser tenants set-limits ID --max-backlog-%s N.',
        p_unit);
end
$$;

-- The transaction passes the gate of this tenant at its commit. Called after its jobs were made: a session can have
-- such checks made at once (SET CONSTRAINTS). p_passed -1: the backlog is to be counted again in any case.
create function purser.check_at_commit(p_tenant_id text, p_passed bigint, p_first_job_id bigint) returns void
language plpgsql volatile set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  insert into purser.backlog_checks (tenant_id, passed, first_job_id)
  values (p_tenant_id, p_passed, p_first_job_id)
  on conflict (transaction_id, tenant_id) do update set passed = -1 where p_passed = -1 and backlog_checks.passed <> -1;
end
$$;

create function purser.passed_gate(p_tenant_id text) returns bigint
language plpgsql volatile set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  return coalesce((select g.passed from purser.backlog_gates g where g.tenant_id = p_tenant_id), 0);
end
$$;

-- Refuses a job for which a backlog with a limit has no room. Answers what check_at_commit takes. A transaction that
-- makes jobs one by one counts the backlog once for a hundred of them, or a second: what it has found is in a setting
-- of the transaction, which proves nothing, so that the backlog is counted again at the commit.
create function purser.admit_job(p_tenant_id text, p_max_jobs bigint, p_max_bytes bigint, p_bytes bigint)
returns bigint language plpgsql volatile set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  -- Before the count: who passes after this is seen at the commit.
  v_passed bigint := purser.passed_gate(p_tenant_id);
  v_jobs bigint;
  v_bytes bigint;
  v_known jsonb := nullif(current_setting('purser.backlog_room', true), '')::jsonb;
begin
  if v_known->>'tenant' = p_tenant_id and (v_known->>'jobs')::bigint >= 1 and (v_known->>'bytes')::bigint >= p_bytes
      and (v_known->>'until')::float8 > extract(epoch from clock_timestamp()) then
    perform set_config('purser.backlog_room', (v_known || jsonb_build_object('jobs', (v_known->>'jobs')::bigint - 1,
      'bytes', (v_known->>'bytes')::bigint - p_bytes))::text, true);
    return -1;
  end if;
  select b.jobs, b.bytes into v_jobs, v_bytes from purser.backlog(p_tenant_id, purser.most_counted(p_max_jobs)) b;
  if v_jobs + 1 > p_max_jobs then
    perform purser.refuse_backlog(p_tenant_id, 'jobs', p_max_jobs, v_jobs, 1);
  elsif v_bytes + p_bytes > p_max_bytes then
    perform purser.refuse_backlog(p_tenant_id, 'bytes', p_max_bytes, v_bytes, p_bytes);
  end if;
  perform set_config('purser.backlog_room', jsonb_build_object('tenant', p_tenant_id,
    'jobs', least(100, p_max_jobs - v_jobs - 1), 'bytes', coalesce(p_max_bytes - v_bytes - p_bytes, 1000000000000),
    'until', extract(epoch from clock_timestamp()) + 1)::text, true);
  return v_passed;
end
$$;

-- The same for many requests, twice: before any job is made (p_made false), for those that will surely make one, so that
-- a flood is refused at once; and after, for those with a dedup key too. Ids of their jobs are greater than p_last_id.
-- Answers what check_at_commit takes.
create function purser.admit_requests(
  p_requests purser.enqueue_request[], p_last_id bigint, p_made boolean, out tenant_ids text[], out passed bigint[])
language plpgsql volatile set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_tenant record;
  v_passed bigint;
  v_have record;
  v_asked record;
  v_refused record;
begin
  for v_tenant in
    select t.id, coalesce(t.max_backlog_jobs, p.max_backlog_jobs)::bigint as max_jobs,
      coalesce(t.max_backlog_bytes, p.max_backlog_bytes) as max_bytes
    from public.tenants t join public.plans p on p.plan = t.plan
    where t.id in (select r.tenant_id from unnest(p_requests) r)
      and (coalesce(t.max_backlog_jobs, p.max_backlog_jobs) is not null
        or coalesce(t.max_backlog_bytes, p.max_backlog_bytes) is not null)
    order by t.id
  loop
    v_passed := purser.passed_gate(v_tenant.id);
    select b.jobs, b.bytes into v_have
    from purser.backlog(v_tenant.id, purser.most_counted(v_tenant.max_jobs)
      + case when p_made then cardinality(p_requests) else 0 end) b;
    with made as materialized (
      select r.place, octet_length(r.payload::text) as bytes
      from (
        select q.*, row_number() over (partition by q.job_type, q.dedup_key order by q.place) as turn
        from unnest(p_requests) q where q.tenant_id = v_tenant.id) r
      where r.dedup_key is null or (p_made and r.turn = 1 and exists (
        select from public.job_keys k where k.tenant_id = r.tenant_id and k.job_type = r.job_type
          and k.dedup_key = r.dedup_key and k.job_id > p_last_id))
    )
    select count(*) as jobs, coalesce(sum(m.bytes), 0) as bytes, array_agg(m.place order by m.place) as places,
      array_agg(m.bytes order by m.place) as sizes
    into v_asked from made m;
    if p_made then
      v_have.jobs := v_have.jobs - v_asked.jobs;
      v_have.bytes := v_have.bytes - v_asked.bytes;
    end if;
    continue when v_asked.jobs = 0;
    if v_have.jobs + v_asked.jobs > v_tenant.max_jobs then
      perform purser.refuse_backlog(v_tenant.id, 'jobs', v_tenant.max_jobs, v_have.jobs, v_asked.jobs,
        v_asked.places[greatest(0, v_tenant.max_jobs - v_have.jobs) + 1]);
    elsif v_have.bytes + v_asked.bytes > v_tenant.max_bytes then
      select s.place into v_refused from (
        select u.place, sum(u.bytes) over (order by u.place) as so_far
        from unnest(v_asked.places, v_asked.sizes) as u (place, bytes)) s
      where v_have.bytes + s.so_far > v_tenant.max_bytes order by s.place limit 1;
      perform purser.refuse_backlog(v_tenant.id, 'bytes', v_tenant.max_bytes, v_have.bytes, v_asked.bytes,
        v_refused.place);
    end if;
    tenant_ids := tenant_ids || v_tenant.id;
    passed := passed || v_passed;
  end loop;
end
$$;

-- At the commit, once for all tenants of the transaction, in the order of their ids. The row of the gate stays locked
-- until the commit is done. It is changed, so that a transaction in REPEATABLE READ fails (40001) rather than count what
-- its snapshot knows.
create function purser.pass_gates() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_check record;
  v_limits record;
  v_passed bigint;
  v_have record;
  v_own record;
begin
  for v_check in
    select c.tenant_id, c.passed, c.first_job_id from purser.backlog_checks c
    where c.transaction_id = pg_current_xact_id() order by c.tenant_id
  loop
    insert into purser.backlog_gates as g (tenant_id) values (v_check.tenant_id)
    on conflict (tenant_id) do update set passed = g.passed + 1
    returning g.passed into v_passed;
    -- Nobody passed since this transaction counted.
    continue when v_passed = v_check.passed + 1;
    select coalesce(t.max_backlog_jobs, p.max_backlog_jobs)::bigint as max_jobs,
      coalesce(t.max_backlog_bytes, p.max_backlog_bytes) as max_bytes
    into v_limits from public.tenants t join public.plans p on p.plan = t.plan where t.id = v_check.tenant_id;
    select b.jobs, b.bytes into v_have
    from purser.backlog(v_check.tenant_id, purser.most_counted(v_limits.max_jobs)) b;
    continue when v_have.jobs <= coalesce(v_limits.max_jobs, v_have.jobs)
      and v_have.bytes <= coalesce(v_limits.max_bytes, v_have.bytes);
    -- Of the visible rows, those of a transaction in progress are its own.
    select count(*) as jobs, coalesce(sum(octet_length(j.payload::text)), 0) as bytes into v_own
    from public.jobs j
    where j.tenant_id = v_check.tenant_id and j.id >= v_check.first_job_id
      and pg_xact_status((pg_current_xact_id()::text::bigint / 4294967296 * 4294967296 + j.xmin::text::bigint)::text::xid8)
        = 'in progress';
    -- Only those of savepoints that were given up.
    continue when v_own.jobs = 0;
    if v_have.jobs > v_limits.max_jobs then
      perform purser.refuse_backlog(v_check.tenant_id, 'jobs', v_limits.max_jobs, v_have.jobs - v_own.jobs, v_own.jobs);
    else
      perform purser.refuse_backlog(v_check.tenant_id, 'bytes', v_limits.max_bytes, v_have.bytes - v_own.bytes,
        v_own.bytes);
    end if;
  end loop;
  delete from purser.backlog_checks c where c.transaction_id = pg_current_xact_id();
  return null;
end
$$;
create constraint trigger pass_gates after insert on purser.backlog_checks
  deferrable initially deferred for each row execute function purser.pass_gates();

select purser.protect_table('purser.backlog_gates', '');
select purser.protect_table('purser.backlog_checks', '');
