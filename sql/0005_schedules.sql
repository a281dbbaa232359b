-- Schedules: a cron expression per (job type, cohort), and one row per tenant and job type that says when
-- it is due next. A tick is named by its due instant in UTC before splay (its bucket).

create table public.schedules (
  job_type text not null references public.job_types (job_type),
  cohort text not null check (cohort in ('high_value', 'active', 'dormant')),
  cron text not null,
  zone text not null default 'UTC',
  splay_seconds integer not null default 0 check (splay_seconds >= 0),
  primary key (job_type, cohort)
);

create table public.tenant_schedules (
  tenant_id text not null references public.tenants (id) on delete cascade,
  job_type text not null references public.job_types (job_type),
  next_due timestamptz not null default now(),
  last_bucket timestamptz,
  enabled boolean not null default true,
  primary key (tenant_id, job_type)
);
create index ix_tenant_schedules_next_due on public.tenant_schedules (next_due) where enabled;

-- The keys of ticks. Not in job_keys: with a child job a tenant can insert any key there, and the claim of everybody's
-- schedules would wait for that insert.
create table purser.tick_keys (
  tenant_id text not null references public.tenants (id) on delete cascade,
  job_type text not null,
  -- The time of the tick, before the tenant's splay.
  bucket timestamptz not null,
  job_id bigint not null,
  expires_at timestamptz not null,
  primary key (tenant_id, job_type, bucket)
);
create index ix_tick_keys_expires_at on purser.tick_keys (expires_at);

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

-- A new schedule reaches the tenants that are already there.
create function purser.schedule_created() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  insert into public.tenant_schedules (tenant_id, job_type)
  select t.id, new.job_type from public.tenants t on conflict do nothing;
  return null;
end
$$;
create trigger schedule_created after insert on public.schedules
  for each row execute function purser.schedule_created();

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
           nextval('public.jobs_id_seq') as job_id
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
  ), wanted as materialized (
    select d.*, y.max_attempts, now() + y.give_up_after_ms * interval '1 millisecond' as give_up_at
    from due d
    cross join lateral (select t.* from public.job_types t where t.job_type = d.job_type offset 0) y
    where d.job_id = any(array(select k.job_id from keyed k))
  ), made as (
    insert into public.jobs (id, tenant_id, job_type, dedup_key, max_attempts, scheduled_for, origin)
    select w.job_id, w.tenant_id, w.job_type,
           format('%s:%s:%s', w.tenant_id, w.job_type,
             to_char(w.current at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
           w.max_attempts, now(), jsonb_build_object('cohort', w.cohort, 'bucket', w.current)
    from wanted w
    returning 1
  ), waiting as (
    insert into purser.waiting (job_id, tenant_id, job_type, priority, scheduled_for, give_up_at, payload_bytes)
    select w.job_id, w.tenant_id, w.job_type, 0, now(), w.give_up_at, octet_length('{}') from wanted w
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
  if created > 0 then
    perform purser.wake_dispatcher(now());
  end if;
end
$$;

select purser.protect_table('public.tenant_schedules', '');
select purser.protect_table('purser.tick_keys', '');
