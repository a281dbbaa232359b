-- Costs that are found out later: of settled calls at a corrected price, and of calls of unknown outcome that an app's
-- hook looks up at the provider. And limits of starts that a plan sets for each of its tenants.

-- Corrects settled costs in one transaction, each once per evidence. p_calls: [{id, evidence, before_usd, cost_usd,
-- items}]. All reservations and then all counters are locked before the first changes, in the order in which everyone
-- locks them. outcome: as of budget_resolve; or changed (its cost is not before_usd any more, or was assumed).
create function purser.budget_rerate(p_calls jsonb, p_reason text, p_by text, p_now timestamptz)
returns table (reservation_id uuid, outcome text) language plpgsql volatile as $$
declare
  v_ids uuid[];
  v_call record;
begin
  select array_agg(l.id) into v_ids from (
    select r.id from public.llm_reservations r
    where r.id = any (array(select (c ->> 'id')::uuid from jsonb_array_elements(p_calls) c))
    order by r.id for no key update
  ) l;
  if v_ids is null then
    return;
  end if;
  perform purser.lock_counters(v_ids);
  perform from public.llm_fleet_periods p
  where p.id in (select a.fleet_period_id from public.llm_pins n join public.llm_scope_periods a on a.id = n.scope_period_id
    where n.reservation_id = any (v_ids) and a.fleet_period_id is not null)
  order by p.id for no key update;
  for v_call in
    select c.* from jsonb_to_recordset(p_calls) c (id uuid, evidence text, before_usd numeric, cost_usd numeric, items jsonb)
    where c.id = any (v_ids) order by c.id
  loop
    reservation_id := v_call.id;
    if exists (select from public.llm_adjustments a where a.reservation_id = v_call.id and a.evidence = v_call.evidence) then
      outcome := 'repeated';
    elsif exists (select from public.llm_usage u
      where u.reservation_id = v_call.id and u.cost_usd = v_call.before_usd and not u.assumed) then
      select f.outcome into outcome
      from purser.budget_resolve(v_call.id, v_call.evidence, v_call.cost_usd, v_call.items, p_reason, p_by, p_now) f;
    else
      outcome := 'changed';
    end if;
    return next;
  end loop;
end
$$;

-- Calls of unknown outcome that were looked up, or are being looked up, until their outcome is known. No foreign key to
-- the tenant, whose lock would hold up the calls of all others.
create table public.llm_look_ups (
  reservation_id uuid primary key references public.llm_reservations (id) on delete cascade,
  tenant_id text not null,
  tries integer not null default 0,
  next_try_at timestamptz not null,
  -- The job that looks it up, until its answer is read. No second one is started before.
  job_id bigint
);
create index ix_llm_look_ups_tenant_id on public.llm_look_ups (tenant_id);
create index ix_llm_look_ups_job_id on public.llm_look_ups (job_id) where job_id is not null;
select purser.protect_table('public.llm_look_ups', '');

-- Enqueues a job for the calls of each tenant that are due, 20 in one, where a live worker has the hook: calls that
-- have been unknown for p_after, and not for p_until yet. A call is tried again after 5, 10, 20 minutes and so on, up to
-- 6 hours. Returns the number of calls. A tenant whose backlog is full or whose row is locked waits for its next try.
create function purser.start_look_ups(p_job_type text, p_limit integer, p_after interval, p_until interval, p_now timestamptz)
returns integer language plpgsql volatile
set lock_timeout = '1s' as $$
declare
  v_now timestamptz := coalesce(p_now, clock_timestamp());
  v_calls record;
  v_job_id bigint;
  v_started integer := 0;
begin
  if not exists (select from public.heartbeats h
    where h.role = 'worker' and p_job_type = any (h.job_types) and h.beat_at > clock_timestamp() - interval '1 minute') then
    return 0;
  end if;
  for v_calls in
    with due as (
      select r.id, r.tenant_id from public.llm_reservations r
      left join public.llm_look_ups l on l.reservation_id = r.id
      where r.status = 'UNKNOWN' and r.closed_at <= v_now - p_after and r.closed_at > v_now - p_until
        and r.sent_at is not null
        and (l.reservation_id is null or (l.job_id is null and l.next_try_at <= v_now))
      order by r.closed_at limit p_limit
    ), claimed as (
      insert into public.llm_look_ups as l (reservation_id, tenant_id, tries, next_try_at)
      select d.id, d.tenant_id, 1, v_now + interval '5 minutes' from due d order by d.id
      -- Another scheduler may have been first.
      on conflict (reservation_id) do update
      set tries = l.tries + 1, next_try_at = v_now + least(interval '5 minutes' * 2 ^ least(l.tries, 10), interval '6 hours')
      where l.job_id is null and l.next_try_at <= v_now
      returning l.reservation_id, l.tenant_id
    )
    select n.tenant_id, array_agg(n.reservation_id) as ids, jsonb_agg(jsonb_build_object(
      'reservationId', n.reservation_id, 'provider', r.provider, 'model', r.model, 'requestId', r.request_id,
      'seller', r.price ->> 'provider', 'providerKey', r.provider_key,
      'sentAt', to_char(r.sent_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))) as calls
    from (select c.*, row_number() over (partition by c.tenant_id order by c.reservation_id) as place from claimed c) n
    join public.llm_reservations r on r.id = n.reservation_id
    group by n.tenant_id, (n.place - 1) / 20
  loop
    begin
      select e.job_id into v_job_id
      from purser.enqueue(v_calls.tenant_id, p_job_type, jsonb_build_object('calls', v_calls.calls)) e;
      update public.llm_look_ups l set job_id = v_job_id where l.reservation_id = any (v_calls.ids);
      v_started := v_started + array_length(v_calls.ids, 1);
    exception when lock_not_available or sqlstate 'PU012' or sqlstate 'PU003' then
      null;
    end;
  end loop;
  return v_started;
end
$$;

-- What a look-up has found: a cost settles the call, unless it was settled meanwhile; null is no answer.
-- outcome: settled; open (no answer: it is tried again); ended (the call has no unknown outcome any more); repeated.
create function purser.end_look_up(
  p_reservation_id uuid, p_job_id bigint, p_cost_usd numeric, p_items jsonb, p_now timestamptz, out outcome text
) language plpgsql volatile as $$
declare
  v_status text;
begin
  select r.status into v_status from public.llm_reservations r where r.id = p_reservation_id for no key update;
  perform from public.llm_look_ups l
  where l.reservation_id = p_reservation_id and l.job_id = p_job_id for no key update;
  if not found then
    outcome := 'repeated';
  elsif v_status is distinct from 'UNKNOWN' then
    outcome := 'ended';
    delete from public.llm_look_ups l where l.reservation_id = p_reservation_id;
  elsif p_cost_usd is null then
    outcome := 'open';
    update public.llm_look_ups l set job_id = null where l.reservation_id = p_reservation_id;
  else
    select f.outcome into outcome from purser.budget_resolve(p_reservation_id, 'look-up', p_cost_usd, p_items,
      'told by the look-up hook in job ' || p_job_id, 'look-up', p_now) f;
    delete from public.llm_look_ups l where l.reservation_id = p_reservation_id;
  end if;
end
$$;

-- How many jobs of a type, or of all types together (empty), each tenant of a plan may start in each window. A limit is
-- written into job_limits for each tenant (starts_of_plan), where dispatch reads it as any other: without one it does
-- nothing more than before. A limit of starts that a tenant has of its own stays.
create table purser.plan_job_limits (
  plan text not null references public.plans (plan) on delete cascade,
  job_type text not null default '',
  max_starts integer not null check (max_starts between 0 and 100000),
  per_seconds integer not null check (per_seconds between 1 and 2678400),
  by text not null default current_user,
  at timestamptz not null default now(),
  of_type text generated always as (nullif(job_type, '')) stored
    references public.job_types (job_type) on delete cascade,
  primary key (plan, job_type)
);

alter table public.job_limits add column starts_of_plan boolean not null default false,
  add constraint plan_limits_starts check (not starts_of_plan or max_starts is not null);
comment on column public.job_limits.starts_of_plan is 'max_starts and per_seconds are those of the plan of the tenant.';

-- Writes the limits of a plan for its tenants, or those of a tenant's plan for the tenant.
create function purser.follow_plan_limits(p_plan text, p_tenant_id text) returns void language plpgsql volatile as $$
begin
  delete from public.job_limits l
  using public.tenants t
  where l.starts_of_plan and l.max_running is null and t.id = l.tenant_id
    and (t.plan = p_plan or t.id = p_tenant_id)
    and not exists (select from purser.plan_job_limits p where p.plan = t.plan and p.job_type = l.job_type);
  update public.job_limits l set max_starts = null, per_seconds = null, starts_of_plan = false
  from public.tenants t
  where l.starts_of_plan and t.id = l.tenant_id and (t.plan = p_plan or t.id = p_tenant_id)
    and not exists (select from purser.plan_job_limits p where p.plan = t.plan and p.job_type = l.job_type);
  insert into public.job_limits as l (tenant_id, job_type, max_starts, per_seconds, by, starts_of_plan)
  select t.id, p.job_type, p.max_starts, p.per_seconds, p.by, true
  from public.tenants t join purser.plan_job_limits p on p.plan = t.plan
  where (t.plan = p_plan or t.id = p_tenant_id)
    -- Not while it is being deleted.
    and (p.job_type = '' or exists (select from public.job_types y where y.job_type = p.job_type))
  order by t.id, p.job_type
  on conflict (tenant_id, job_type, group_name, each_tenant) do update
  set max_starts = excluded.max_starts, per_seconds = excluded.per_seconds, starts_of_plan = true
  where (l.starts_of_plan or l.max_starts is null)
    and (l.max_starts, l.per_seconds) is distinct from (excluded.max_starts, excluded.per_seconds);
end
$$;

-- The lock on the plan is that against which whoever adds a tenant to it holds a share: one of the two sees the other.
create function purser.plan_limit_set() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_plan text := coalesce(new.plan, old.plan);
begin
  perform from public.plans p where p.plan = v_plan for update;
  if found then
    perform purser.follow_plan_limits(v_plan, null);
  end if;
  return null;
end
$$;
create trigger plan_limit_set after insert or update or delete on purser.plan_job_limits
  for each row execute function purser.plan_limit_set();

create function purser.tenant_follows_plan_limits() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  perform from public.plans p
  where p.plan in (new.plan, case when tg_op = 'UPDATE' then old.plan end) order by p.plan for key share;
  if exists (select from purser.plan_job_limits) then
    perform purser.follow_plan_limits(null, new.id);
  end if;
  return null;
end
$$;
create trigger follow_plan_limits after insert or update of plan on public.tenants
  for each row execute function purser.tenant_follows_plan_limits();

-- Where a tenant has no limit of its own any more, its plan's counts.
create function purser.limit_cleared() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  if exists (select from public.tenants t join purser.plan_job_limits p on p.plan = t.plan and p.job_type = old.job_type
    where t.id = old.tenant_id) then
    perform purser.follow_plan_limits(null, old.tenant_id);
  end if;
  return null;
end
$$;
create trigger limit_cleared after delete on public.job_limits
  for each row when (old.tenant_id <> '' and old.group_name = '') execute function purser.limit_cleared();

select purser.protect_table('purser.plan_job_limits', '', 'plan');
