-- Schedules: a cron expression per (job type, cohort), which a tenant may override, and one row per tenant and job type
-- that says when it is due next. A tick is named by its due instant in UTC before splay (its bucket). Cron is computed
-- in code, once per (expression, zone), and passed in.

create table public.schedules (
  job_type text not null references public.job_types (job_type),
  cohort text not null check (cohort in ('high_value', 'active', 'dormant')),
  cron text not null,
  zone text not null default 'UTC',
  -- The ticks of a tenant have a fixed offset below this. It must be smaller than the interval; the claim clamps it.
  splay_seconds integer not null default 0 check (splay_seconds >= 0),
  -- What becomes of ticks that nobody claimed in time: none of them runs, the newest one, or the newest missed_most.
  missed text not null default 'once' check (missed in ('skip', 'once', 'all')),
  missed_most integer not null default 24 check (missed_most between 1 and 1000),
  enabled boolean not null default true,
  paused_by text,
  paused_reason text,
  paused_at timestamptz,
  primary key (job_type, cohort)
);

create table public.tenant_schedules (
  tenant_id text not null references public.tenants (id) on delete cascade,
  job_type text not null references public.job_types (job_type),
  next_due timestamptz not null default now(),
  -- The newest tick that has a job or is recorded as missed.
  last_bucket timestamptz,
  -- The tick that next_due stands for, and the expression that it was computed from.
  next_bucket timestamptz,
  next_cron text,
  next_zone text,
  enabled boolean not null default true,
  paused_by text,
  paused_reason text,
  paused_at timestamptz,
  -- Set by the end of a pause until the next claim: what was due before is missed.
  resumed_at timestamptz,
  -- What differs from the schedule of the cohort.
  cron text,
  zone text,
  splay_seconds integer check (splay_seconds >= 0),
  missed text check (missed in ('skip', 'once', 'all')),
  missed_most integer check (missed_most between 1 and 1000),
  primary key (tenant_id, job_type)
);
create index ix_tenant_schedules_next_due on public.tenant_schedules (next_due) where enabled;

-- What became of each tick; its primary key makes the job of a tick unique. Not in job_keys: with a child job a tenant
-- can insert any key there, and the claim of everybody's schedules would wait for that insert.
-- Without a foreign key, whose check would lock the tenant's row for each tick: a claim locks the row of
-- tenant_schedules, so the deletion of a tenant waits for it there, and then deletes the ticks that it made.
create table purser.ticks (
  tenant_id text not null,
  job_type text not null,
  -- The time of the tick, before the tenant's splay.
  bucket timestamptz not null,
  due_at timestamptz not null,
  claimed_at timestamptz not null default now(),
  -- The id of the scheduler's process.
  claimed_by text not null,
  cohort text,
  -- Null: the tick was missed.
  job_id bigint,
  -- How often it was claimed again, which made no job.
  deduplicated integer not null default 0,
  -- Ticks that made no job, from missed_from to missed_until, recorded here once for all of them.
  missed integer not null default 0,
  missed_from timestamptz,
  missed_until timestamptz,
  missed_reason text check (missed_reason in ('skip', 'once', 'more_than_most', 'paused')),
  expires_at timestamptz not null,
  primary key (tenant_id, job_type, bucket)
);
create index ix_ticks_expires_at on purser.ticks (expires_at);

create view public.schedule_ticks with (security_invoker = true) as
select t.tenant_id, t.job_type, t.cohort, t.bucket, t.due_at, t.claimed_at, t.claimed_by,
  case when t.job_id is null then 'missed' else 'job' end as outcome, t.job_id, t.deduplicated,
  t.missed, t.missed_from, t.missed_until, t.missed_reason
from purser.ticks t;

-- The schedules of a new tenant.
create function purser.tenant_created() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  insert into public.tenant_schedules (tenant_id, job_type)
  select distinct new.id, s.job_type from public.schedules s on conflict do nothing;
  return null;
end
$$;
create trigger tenant_created after insert on public.tenants
  for each row execute function purser.tenant_created();

create function purser.forget_tenant_ticks() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  delete from purser.ticks where tenant_id = old.id;
  return null;
end
$$;
create trigger forget_tenant_ticks after delete on public.tenants
  for each row execute function purser.forget_tenant_ticks();

-- Another cohort may have another schedule: the claim decides. A first run that is delayed stays so. The condition is
-- evaluated without a call, because last_active_at changes often.
create function purser.tenant_cohort_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  update public.tenant_schedules s set next_due = now()
  where s.tenant_id = new.id and s.enabled and s.last_bucket is not null and s.next_due > now();
  return null;
end
$$;
create trigger cohort_changed after update of plan, last_active_at on public.tenants
  for each row when (purser.cohort_of(old.plan, old.last_active_at, now())
    is distinct from purser.cohort_of(new.plan, new.last_active_at, now()))
  execute function purser.tenant_cohort_changed();

-- A new schedule reaches the tenants that are already there, and a changed one those that it applies to.
create function purser.schedule_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  if tg_op = 'INSERT' then
    insert into public.tenant_schedules (tenant_id, job_type)
    select t.id, new.job_type from public.tenants t on conflict do nothing;
  end if;
  update public.tenant_schedules s
  set next_due = least(s.next_due, now()),
      resumed_at = case when tg_op = 'UPDATE' and new.enabled and not old.enabled then now() else s.resumed_at end
  from public.tenants t
  where t.id = s.tenant_id and s.job_type = new.job_type and s.enabled and new.enabled
    and purser.cohort_of(t.plan, t.last_active_at, now()) = new.cohort
    and (s.next_due > now() or tg_op = 'UPDATE' and not old.enabled);
  return null;
end
$$;
create trigger schedule_created after insert on public.schedules
  for each row execute function purser.schedule_changed();
create trigger schedule_changed after update of cron, zone, enabled on public.schedules
  for each row when ((old.cron, old.zone, old.enabled) is distinct from (new.cron, new.zone, new.enabled))
  execute function purser.schedule_changed();

-- The same for the override and the pause of one tenant.
create function purser.tenant_schedule_changed() returns trigger
language plpgsql set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  if new.enabled and not old.enabled then
    new.resumed_at := now();
    new.paused_by := null;
    new.paused_reason := null;
    new.paused_at := null;
  elsif old.enabled and not new.enabled then
    new.paused_at := coalesce(new.paused_at, now());
  end if;
  new.next_due := least(new.next_due, now());
  return new;
end
$$;
create trigger schedule_changed before update of cron, zone, enabled on public.tenant_schedules
  for each row when ((old.cron, old.zone, old.enabled) is distinct from (new.cron, new.zone, new.enabled))
  execute function purser.tenant_schedule_changed();

-- To subtract days from a time depends on the zone of the session; the planner puts no function into a statement that
-- claims to be more stable than what it calls.
alter function purser.cohort_of(text, timestamptz, timestamptz) stable;

-- The schedule of a tenant, with its overrides. Not usable: the cohort has none, or it is paused. Without a search path
-- of its own, so that the planner puts it into the statements.
create function purser.schedule_of(s public.tenant_schedules, p_now timestamptz)
returns table (cohort text, cron text, zone text, splay_seconds integer, missed text, missed_most integer,
  is_usable boolean)
language sql stable as $$
  select c.cohort, coalesce(s.cron, b.cron), coalesce(s.zone, b.zone, 'UTC'),
    coalesce(s.splay_seconds, b.splay_seconds, 0), coalesce(s.missed, b.missed, 'once'),
    coalesce(s.missed_most, b.missed_most, 24), coalesce(s.cron, b.cron) is not null and coalesce(b.enabled, true)
  from (
    select purser.cohort_of(t.plan, t.last_active_at, p_now) as cohort
    from public.tenants t where t.id = s.tenant_id offset 0) c
  left join public.schedules b on b.job_type = s.job_type and b.cohort = c.cohort
$$;

-- The tenant's share of a splay: the same for ever, and smaller than the shortest interval of the expression.
create function purser.splay_of(p_tenant_id text, p_splay_seconds integer, p_shortest_seconds integer) returns interval
language sql immutable as $$
  select case when p_splay_seconds <= 0 then interval '0'
    else ('x' || pg_catalog.substr(pg_catalog.md5(p_tenant_id), 1, 8))::pg_catalog.bit(32)::bigint
      % greatest(1, least(p_splay_seconds, p_shortest_seconds - 1)) * interval '1 second' end
$$;

-- The expressions of the first p_limit due schedules: the oldest tick that one of them waits for, and the most ticks
-- that one may run.
create function purser.due_crons(p_now timestamptz, p_limit integer, p_excluded text[], p_skipped text[])
returns table (cron text, zone text, since timestamptz, most integer)
language plpgsql stable
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_sort = off set enable_bitmapscan = off set jit = off
as $$
begin
  return query
  with due as materialized (
    select s from public.tenant_schedules s
    where s.enabled and s.next_due <= p_now and s.job_type <> all (p_excluded) and s.tenant_id <> all (p_skipped)
    order by s.next_due limit p_limit
  )
  select e.cron, e.zone, min(coalesce((d.s).next_bucket, (d.s).last_bucket)),
    coalesce(max(e.missed_most) filter (where e.missed = 'all'), 0)
  from due d cross join lateral purser.schedule_of(d.s, p_now) e
  -- Also what is not usable, without an expression: it has to be put off.
  group by e.cron, e.zone;
end
$$;

-- Claims at most p_limit due schedules, in the order of their due times, and makes at most that many jobs (and those of
-- one more tenant, at most 25). p_ticks: [{cron, zone, ticks, past, shortestSeconds}] with the ticks of each expression
-- in order, of which `past` are not after p_now and two are; null ticks: the expression is invalid. A schedule whose
-- expression is not among them stays due. One that is invalid, paused or missing is looked at again after 5 minutes.
-- p_lock_timeout_ms, of the whole batch: more than deadlock_timeout, so that a deadlock is told from a lock that is held.
-- NO KEY UPDATE does not conflict with the foreign-key check of an open insert (a long ingestion).
create function purser.claim_schedules(
  p_ticks jsonb, p_now timestamptz, p_limit integer, p_only_tenant text, p_excluded text[], p_skipped text[],
  p_claimed_by text, p_lock_timeout_ms integer, out claimed integer, out created integer, out deduplicated integer, out missed integer,
  out put_off integer)
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_sort = off set enable_bitmapscan = off
set lock_timeout = '2s' set jit = off
as $$
begin
  perform set_config('lock_timeout', p_lock_timeout_ms::text, true);
  with tick as materialized (
    select k.cron, k.zone, k.ticks, k.past, k."shortestSeconds" as shortest,
      k.ticks[k.past + 1] - k.ticks[k.past] as span
    from jsonb_to_recordset(p_ticks)
      as k (cron text, zone text, ticks timestamptz[], past integer, "shortestSeconds" integer)
  ), due as materialized (
    select s from public.tenant_schedules s
    where s.enabled and s.next_due <= p_now and s.job_type <> all (p_excluded) and s.tenant_id <> all (p_skipped)
      and (p_only_tenant is null or s.tenant_id = p_only_tenant)
    order by s.next_due limit p_limit
    for no key update of s skip locked
  ), placed as materialized (
    -- behind: ticks that are accounted for. upto: the newest tick that is due for this tenant.
    select d.s, e.cohort, e.missed as policy, e.missed_most as most, not e.is_usable or k.ticks is null as is_put_off,
      k.cron, k.zone, k.ticks, k.past, k.span, o.splay, (d.s).last_bucket is null as is_first,
      least(k.past + 1, greatest(coalesce(width_bucket((d.s).last_bucket, k.ticks), 0),
        coalesce(width_bucket((d.s).next_bucket - interval '1 microsecond', k.ticks), 0))) as behind,
      width_bucket(p_now - o.splay, k.ticks) as upto,
      (d.s).last_bucket is not null and (d.s).resumed_at is null and (d.s).next_cron is not null
        and ((d.s).next_cron, (d.s).next_zone) is distinct from (k.cron, k.zone) as is_changed,
      -- After a change: the first tick half an interval after the last run, so that no run is doubled or dropped.
      width_bucket((d.s).last_bucket + k.span / 2 - interval '1 microsecond', k.ticks) + 1 as again
    from due d
    cross join lateral purser.schedule_of(d.s, p_now) e
    left join lateral (
      select t.* from tick t where t.cron = e.cron and t.zone = e.zone limit 1) k on e.is_usable
    cross join lateral (
      select purser.splay_of((d.s).tenant_id, e.splay_seconds, k.shortest) as splay offset 0) o
    where not e.is_usable or k.cron is not null
  ), bounded as materialized (
    select p.*, b.behind as old_behind, greatest(b.behind, u.paused_upto) as done, b.upto as newest, u.paused_upto
    from placed p
    cross join lateral (
      select case when p.is_first then p.past - 1
          when p.is_changed and p.again <= p.past then greatest(p.past - 1, width_bucket((p.s).last_bucket, p.ticks))
          when p.is_changed then least(p.again, p.past + 2) - 1
          else p.behind end as behind,
        case when p.is_first or p.is_changed then p.past else p.upto end as upto
      offset 0) b
    cross join lateral (
      select case when p.is_first or (p.s).resumed_at is null then 0
        else least(p.past, width_bucket((p.s).resumed_at - p.splay, p.ticks)) end as paused_upto
      offset 0) u
  ), decided as materialized (
    select b.*, greatest(0, b.paused_upto - b.old_behind) as paused, m.make_from,
      least(greatest(b.newest, b.done), m.make_from + 24) as make_upto,
      case when b.is_first or b.is_changed then 0 else m.make_from - 1 - b.done end as skipped, m.is_late,
      -- Ticks that are older than those that were passed in; by their usual distance.
      case when b.is_first or b.is_changed or b.old_behind > 0 or (b.s).next_bucket >= b.ticks[1] then 0
        else coalesce(round(extract(epoch from b.ticks[1] - (b.s).next_bucket)
          / extract(epoch from b.ticks[2] - b.ticks[1]))::integer, 0) end as older
    from bounded b
    cross join lateral (
      select l.is_late, case
        when b.newest <= b.done then b.done + 1
        when l.is_late then b.newest + 1
        when b.policy = 'all' and not b.is_first and not b.is_changed then greatest(b.done + 1, b.newest - b.most + 1)
        else b.newest end as make_from
      from (
        select b.policy = 'skip' and not b.is_first and not b.is_changed and b.newest > b.done
          and p_now - (b.ticks[b.newest] + b.splay) > least(b.span / 2, interval '5 minutes') as is_late
        offset 0) l
      offset 0) m
  ), chosen as materialized (
    select c.* from (
      select d.*, sum(greatest(0, d.make_upto - d.make_from + 1))
        over (rows between unbounded preceding and 1 preceding) as jobs_before
      from decided d) c
    where coalesce(c.jobs_before, 0) < p_limit
  ), recorded as (
    insert into purser.ticks (tenant_id, job_type, bucket, due_at, claimed_at, claimed_by, cohort, job_id, missed,
      missed_from, missed_until, missed_reason, expires_at)
    select (c.s).tenant_id, (c.s).job_type, c.ticks[r.at], c.ticks[r.at] + c.splay, p_now, p_claimed_by, c.cohort,
      case when r.is_job then nextval('public.jobs_id_seq') end, r.missed,
      case when r.missed > 0 then case when r.has_older then (c.s).next_bucket else c.ticks[r.first] end end,
      case when r.missed > 0 then coalesce(c.ticks[r.last], c.ticks[1]) end,
      case when r.missed > 0 then r.reason end,
      greatest(c.ticks[r.at] + 3 * c.span, p_now + case when r.is_job then interval '1 day' else interval '7 days' end)
    from chosen c
    cross join lateral (
      select c.paused_upto as at, false as is_job, c.paused + c.older as missed, c.older > 0 as has_older,
        c.old_behind + 1 as first, c.paused_upto as last, 'paused' as reason
      where c.paused > 0
      union all
      select g, true, case when g = c.make_from then c.skipped + o.older else 0 end, o.older > 0, c.done + 1,
        c.make_from - 1, case c.policy when 'all' then 'more_than_most' else c.policy end
      from (select case when c.paused > 0 then 0 else c.older end as older) o
      cross join lateral generate_series(c.make_from, c.make_upto) g
      union all
      select c.newest, false, c.skipped + o.older, o.older > 0, c.done + 1, c.newest, 'skip'
      from (select case when c.paused > 0 then 0 else c.older end as older) o
      where c.is_late
    ) r
    where not c.is_put_off
    on conflict (tenant_id, job_type, bucket) do update set deduplicated = ticks.deduplicated + 1
    returning ticks.*
  ), made as (
    insert into public.jobs (id, tenant_id, job_type, dedup_key, max_attempts, scheduled_for, origin)
    select r.job_id, r.tenant_id, r.job_type,
           format('%s:%s:%s', r.tenant_id, r.job_type,
             to_char(r.bucket at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
           y.max_attempts, now(), jsonb_build_object('cohort', r.cohort, 'bucket', r.bucket)
    from recorded r
    cross join lateral (select t.* from public.job_types t where t.job_type = r.job_type offset 0) y
    where r.job_id is not null and r.deduplicated = 0
    returning 1
  ), waiting as (
    insert into purser.waiting (job_id, tenant_id, job_type, priority, scheduled_for, give_up_at, payload_bytes)
    select r.job_id, r.tenant_id, r.job_type, 0, now(), now() + y.give_up_after_ms * interval '1 millisecond',
           octet_length('{}')
    from recorded r
    cross join lateral (select t.* from public.job_types t where t.job_type = r.job_type offset 0) y
    where r.job_id is not null and r.deduplicated = 0
  ), advanced as (
    update public.tenant_schedules s
    set last_bucket = case when c.is_put_off then s.last_bucket
          when c.paused > 0 or c.newest > c.done then greatest(s.last_bucket, c.ticks[c.make_upto])
          else s.last_bucket end,
        next_bucket = case when c.is_put_off then s.next_bucket else c.ticks[c.make_upto + 1] end,
        next_due = case when c.is_put_off then p_now + interval '5 minutes'
          else c.ticks[c.make_upto + 1] + c.splay end,
        next_cron = case when c.is_put_off then s.next_cron else c.cron end,
        next_zone = case when c.is_put_off then s.next_zone else c.zone end,
        resumed_at = case when c.is_put_off then s.resumed_at end
    from chosen c where s.tenant_id = (c.s).tenant_id and s.job_type = (c.s).job_type
    returning c.is_put_off
  )
  select (select count(*) filter (where not a.is_put_off) from advanced a),
    (select count(*) from made),
    (select count(*) filter (where r.deduplicated > 0) from recorded r),
    (select coalesce(sum(r.missed) filter (where r.deduplicated = 0), 0) from recorded r),
    (select count(*) filter (where a.is_put_off) from advanced a)
  into claimed, created, deduplicated, missed, put_off;
  if created > 0 then
    perform purser.wake_dispatcher(now());
  end if;
end
$$;

select purser.protect_table('public.tenant_schedules', '');
select purser.protect_table('purser.ticks', '');
