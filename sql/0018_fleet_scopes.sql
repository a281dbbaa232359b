-- Limits of the whole fleet's spending: of all tenants, or of a provider, a provider's key or a model, by day or month.
-- No row is hot for all: a tenant spends from an allotment of the fleet's period, which is granted in chunks and leased
-- for minutes. An allotment is a row of llm_scope_periods, so that holds are pinned to it, move and are verified as they
-- are in a scope of the tenant.
--
-- What keeps the limit: allotted_usd of a period is the sum of what is granted, and changes under the lock of the
-- period's row alone. A grant is made only while allotted_usd stays within the limit, and used (reserved, spent and
-- unknown) never passes granted; what a bill costs beyond its hold is granted to it, whatever the limit. Where more is
-- allotted than the limit (it was lowered, or by such bills), a tenant that has d left in its allotment may use
-- d - (allotted_usd - limit) of it: the sum over all tenants is then still within the limit.
--
-- Lock order: reservations by id, months by key, periods of scopes and allotments by id, rows of the fleet's periods by
-- id, and after those nothing that another may hold: allotments of other tenants are taken from only where they are not
-- locked. Missing periods of the fleet are made before any period of a scope is locked, under the locks of their scopes
-- by id.

create table public.llm_fleet_scopes (
  -- Below 0, where llm_scopes counts above: llm_refusals.scope_id and purser.rung_scope name a scope of either table.
  id bigint generated always as identity (increment by -1) primary key,
  kind text not null check (kind in ('fleet', 'provider', 'provider_key', 'model')),
  -- null: whichever.
  provider text check (length(provider) between 1 and 200),
  -- The name of the key, or the model.
  subject text check (length(subject) between 1 and 200),
  period text not null check (period in ('day', 'month')),
  time_zone text not null default 'UTC' check (length(time_zone) between 1 and 100),
  limit_usd numeric(18, 9) not null check (limit_usd >= 0 and limit_usd < 1e9),
  hard_limit boolean not null default true,
  -- Grows with each change of the limit, so that its alerts are raised again.
  limit_version integer not null default 1,
  -- null until the calls that were made before are counted: so long the limit does not bind.
  filled_at timestamptz,
  -- The row stays for a minute, for the reserves that have seen it: without it they would find their allotment no more
  -- and grant it nothing.
  removed_at timestamptz,
  set_by text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint kind_has_its_columns check (
    (kind in ('provider_key', 'model')) = (subject is not null)
    and (kind <> 'fleet' or provider is null) and (kind not in ('provider', 'provider_key') or provider is not null))
);
create unique index ix_llm_fleet_scopes_kind on public.llm_fleet_scopes (kind, provider, subject, period)
  nulls not distinct where removed_at is null;

create table public.llm_fleet_periods (
  id bigint generated always as identity primary key,
  fleet_scope_id bigint not null references public.llm_fleet_scopes (id),
  starts_at timestamptz not null,
  ends_at timestamptz not null,
  allotted_usd numeric(24, 9) not null default 0 check (allotted_usd >= 0),
  -- Used by tenants that were deleted since; part of allotted_usd.
  departed_usd numeric(24, 9) not null default 0 check (departed_usd >= 0),
  constraint period_has_a_length check (ends_at > starts_at),
  unique (fleet_scope_id, starts_at)
) with (fillfactor = 50);

alter table public.llm_scope_periods
  alter column scope_id drop not null,
  add column fleet_period_id bigint references public.llm_fleet_periods (id) on delete cascade,
  add column granted_usd numeric(24, 9),
  add column last_grant_usd numeric(24, 9),
  -- What is not used by then goes back to the fleet; null where it has gone back.
  add column leased_until timestamptz,
  add constraint of_a_scope_or_an_allotment check
    ((scope_id is null) = (fleet_period_id is not null) and (fleet_period_id is null) = (granted_usd is null)),
  add constraint used_is_granted check (reserved_usd + spent_usd + unknown_usd <= granted_usd);
create unique index ix_llm_scope_periods_fleet_period_id on public.llm_scope_periods (fleet_period_id, tenant_id)
  where fleet_period_id is not null;
create index ix_llm_scope_periods_leased_until on public.llm_scope_periods (leased_until) where leased_until is not null;

-- Alerts of a limit of the fleet have no tenant.
alter table public.llm_alerts
  alter column tenant_id drop not null,
  add column fleet_period_id bigint,
  drop constraint llm_alerts_kind_budget_id_period_start_scope_period_id_rese_key,
  add constraint once_per_share unique nulls not distinct
    (kind, budget_id, period_start, scope_period_id, reservation_id, percent, limit_version, fleet_period_id),
  add constraint has_a_tenant_or_is_of_the_fleet check ((tenant_id is null) = (fleet_period_id is not null));

-- What a limit is of, for people.
create function purser.fleet_scope_title(p_kind text, p_provider text, p_subject text) returns text
language sql immutable as $$
  select case p_kind when 'fleet' then 'all calls' when 'provider' then 'provider ' || p_provider
    when 'provider_key' then 'key ' || p_subject || ' of provider ' || p_provider
    else 'model ' || p_subject || coalesce(' of provider ' || p_provider, '') end
$$;

create view public.llm_fleet_status with (security_invoker = true) as
select s.id as fleet_scope_id, s.kind, s.provider, s.subject, s.period, s.time_zone, s.limit_usd, s.hard_limit,
  s.filled_at, p.id as fleet_period_id, p.starts_at, p.ends_at, coalesce(p.allotted_usd, 0) as allotted_usd,
  coalesce(p.departed_usd, 0) as departed_usd, a.tenants, a.spent_usd, a.unknown_usd, a.reserved_usd,
  s.limit_usd - coalesce(p.departed_usd, 0) - a.spent_usd - a.unknown_usd - a.reserved_usd as available_usd,
  s.set_by, s.updated_at
from public.llm_fleet_scopes s
left join public.llm_fleet_periods p on p.fleet_scope_id = s.id and p.starts_at <= now() and p.ends_at > now()
cross join lateral (
  select count(*) as tenants, coalesce(sum(a.spent_usd), 0) as spent_usd, coalesce(sum(a.unknown_usd), 0) as unknown_usd,
    coalesce(sum(a.reserved_usd), 0) as reserved_usd
  from public.llm_scope_periods a where a.fleet_period_id = p.id) a
where s.removed_at is null;

-- Makes the running periods of all scopes of the fleet that have none, as open_scope_period does.
create function purser.open_fleet_periods(p_at timestamptz) returns void language plpgsql volatile as $$
declare
  v_scope public.llm_fleet_scopes;
  v_before timestamptz;
  v_after timestamptz;
  v_start timestamptz;
  v_end timestamptz;
begin
  for v_scope in select s.* from public.llm_fleet_scopes s
    where (s.removed_at is null or s.removed_at > now() - interval '1 minute') and not exists (select from public.llm_fleet_periods p
      where p.fleet_scope_id = s.id and p.starts_at <= p_at and p.ends_at > p_at)
    order by s.id
  loop
    -- One at a time, and again under the lock: periods must not overlap.
    select s.* into v_scope from public.llm_fleet_scopes s where s.id = v_scope.id for no key update;
    continue when not found or exists (select from public.llm_fleet_periods p
      where p.fleet_scope_id = v_scope.id and p.starts_at <= p_at and p.ends_at > p_at);
    select max(p.ends_at) filter (where p.ends_at <= p_at), min(p.starts_at) filter (where p.starts_at > p_at)
    into v_before, v_after
    from public.llm_fleet_periods p where p.fleet_scope_id = v_scope.id;
    select l.starts_at, l.ends_at into v_start, v_end
    from purser.local_period(v_scope.period, v_scope.time_zone, p_at) l;
    if v_before > v_start then
      if v_end - v_before < (v_end - v_start) / 2 then
        select l.ends_at into v_end from purser.local_period(v_scope.period, v_scope.time_zone, v_end) l;
      end if;
      v_start := v_before;
    end if;
    insert into public.llm_fleet_periods (fleet_scope_id, starts_at, ends_at)
    values (v_scope.id, v_start, least(v_end, v_after));
  end loop;
end
$$;

-- The tenant's allotment of the fleet's running period, made if it is missing; null for a scope that is gone.
create function purser.open_allotment(p_scope_id bigint, p_tenant_id text, p_at timestamptz) returns bigint
language plpgsql volatile as $$
declare
  v_id bigint;
  v_period public.llm_fleet_periods;
begin
  select p.* into v_period from public.llm_fleet_periods p
  where p.fleet_scope_id = p_scope_id and p.starts_at <= p_at and p.ends_at > p_at;
  if not found then
    perform purser.open_fleet_periods(p_at);
    select p.* into v_period from public.llm_fleet_periods p
    where p.fleet_scope_id = p_scope_id and p.starts_at <= p_at and p.ends_at > p_at;
    if not found then
      return null;
    end if;
  end if;
  select a.id into v_id from public.llm_scope_periods a
  where a.fleet_period_id = v_period.id and a.tenant_id = p_tenant_id;
  if found then
    return v_id;
  end if;
  insert into public.llm_scope_periods (fleet_period_id, tenant_id, value, starts_at, ends_at, granted_usd)
  values (v_period.id, p_tenant_id, p_tenant_id, v_period.starts_at, v_period.ends_at, 0)
  on conflict do nothing
  returning id into v_id;
  if v_id is null then
    select a.id into v_id from public.llm_scope_periods a
    where a.fleet_period_id = v_period.id and a.tenant_id = p_tenant_id;
  end if;
  return v_id;
end
$$;

-- As before, and of a scope of the fleet the allotment of the tenant p_value.
create or replace function purser.open_scope_period(p_scope_id bigint, p_value text, p_at timestamptz) returns bigint
language plpgsql volatile as $$
declare
  v_id bigint;
  v_scope public.llm_scopes;
  v_before timestamptz;
  v_after timestamptz;
  v_start timestamptz;
  v_end timestamptz;
begin
  if p_scope_id < 0 then
    return purser.open_allotment(p_scope_id, p_value, p_at);
  end if;
  select p.id into v_id from public.llm_scope_periods p
  where p.scope_id = p_scope_id and p.value = p_value and p.starts_at <= p_at and p.ends_at > p_at;
  if found then
    return v_id;
  end if;
  -- One at a time, since periods of one value must not overlap.
  select s.* into v_scope from public.llm_scopes s where s.id = p_scope_id for no key update;
  if not found then
    return null;
  end if;
  select p.id into v_id from public.llm_scope_periods p
  where p.scope_id = p_scope_id and p.value = p_value and p.starts_at <= p_at and p.ends_at > p_at;
  if found then
    return v_id;
  end if;
  select max(p.ends_at) filter (where p.ends_at <= p_at), min(p.starts_at) filter (where p.starts_at > p_at)
  into v_before, v_after
  from public.llm_scope_periods p where p.scope_id = p_scope_id and p.value = p_value;
  select l.starts_at, l.ends_at into v_start, v_end
  from purser.local_period(v_scope.period, v_scope.time_zone, p_at) l;
  if v_before > v_start then
    if v_end - v_before < (v_end - v_start) / 2 then
      select l.ends_at into v_end from purser.local_period(v_scope.period, v_scope.time_zone, v_end) l;
    end if;
    v_start := v_before;
  end if;
  insert into public.llm_scope_periods (scope_id, tenant_id, value, starts_at, ends_at)
  values (p_scope_id, v_scope.tenant_id, p_value, v_start, least(v_end, v_after))
  returning id into v_id;
  return v_id;
end
$$;

-- Whether a scope of the fleet counts a call. A call that a tenant's own key pays counts in those of its key alone,
-- unless the key counts against the budget.
create function purser.fleet_scope_counts(
  p_scope public.llm_fleet_scopes, p_provider text, p_provider_key text, p_model text, p_counts_apart boolean
) returns boolean language sql immutable as $$
  select (p_scope.provider is null or p_scope.provider = p_provider)
    and case p_scope.kind when 'provider_key' then p_scope.subject = p_provider_key
      when 'model' then p_scope.subject = p_model else true end
    and (not p_counts_apart or p_scope.kind = 'provider_key')
$$;

-- What a tenant can get of a limit of the fleet: what it has left, what is not allotted, and, where that is less than
-- p_wanted, what the others have left. p_wanted null: without the others.
create function purser.fleet_room(
  p_scope_id bigint, p_tenant_id text, p_at timestamptz, p_wanted numeric, out room_usd numeric, out reserved_usd numeric
) language plpgsql stable as $$
declare
  v_period_id bigint;
  v_mine record;
begin
  select p.id, s.limit_usd - coalesce(p.allotted_usd, 0) into v_period_id, room_usd
  from public.llm_fleet_scopes s
  left join public.llm_fleet_periods p on p.fleet_scope_id = s.id and p.starts_at <= p_at and p.ends_at > p_at
  where s.id = p_scope_id;
  select a.granted_usd - a.reserved_usd - a.spent_usd - a.unknown_usd as left_usd, a.reserved_usd into v_mine
  from public.llm_scope_periods a where a.fleet_period_id = v_period_id and a.tenant_id = p_tenant_id;
  room_usd := room_usd + coalesce(v_mine.left_usd, 0);
  reserved_usd := coalesce(v_mine.reserved_usd, 0);
  if room_usd < p_wanted then
    select room_usd + coalesce(sum(a.granted_usd - a.reserved_usd - a.spent_usd - a.unknown_usd), 0) into room_usd
    from public.llm_scope_periods a where a.fleet_period_id = v_period_id and a.tenant_id <> p_tenant_id;
  end if;
end
$$;

-- The allotments that the call of a rung counts in; of all rungs where p_rung is null.
create function purser.allotments_of(p_scopes purser.rung_scope[], p_rung integer, p_at timestamptz)
returns table (fleet_period_id bigint, allotment_id bigint, tenant_id text, filled boolean, hard_limit boolean,
  free_usd numeric, left_usd numeric, last_grant_usd numeric, leased_until timestamptz)
language plpgsql volatile as $$
begin
  return query
  select distinct on (p.id) p.id, a.id, a.tenant_id, s.filled_at is not null and s.removed_at is null, s.hard_limit,
    s.limit_usd - p.allotted_usd, a.granted_usd - a.reserved_usd - a.spent_usd - a.unknown_usd, a.last_grant_usd,
    a.leased_until
  from unnest(p_scopes) n
  join public.llm_fleet_scopes s on s.id = n.scope_id
  join public.llm_fleet_periods p on p.fleet_scope_id = s.id and p.starts_at <= p_at and p.ends_at > p_at
  join public.llm_scope_periods a on a.fleet_period_id = p.id and a.tenant_id = n.value
  where p_rung is null or n.rung = p_rung
  order by p.id;
end
$$;

-- False where the allotments have room for the hold. Else locks the periods of the fleet that any rung counts in, and
-- takes from the other tenants what is missing, as far as their allotments are not locked: first where the lease has
-- ended or ends first. What is then left of the limits is exact until the caller's commit.
create function purser.lock_fleet(p_scopes purser.rung_scope[], p_rung integer, p_hold_usd numeric, p_at timestamptz)
returns boolean language plpgsql volatile as $$
declare
  v_mine record;
  v_other record;
  v_missing numeric;
  v_take numeric;
begin
  perform from purser.allotments_of(p_scopes, p_rung, p_at) m
  where m.left_usd + case when m.hard_limit and m.filled then least(m.free_usd, 0) else 0 end < p_hold_usd;
  if not found then
    return false;
  end if;
  for v_mine in select m.fleet_period_id from purser.allotments_of(p_scopes, null, p_at) m order by 1 loop
    perform from public.llm_fleet_periods p where p.id = v_mine.fleet_period_id for no key update;
  end loop;
  for v_mine in select m.* from purser.allotments_of(p_scopes, p_rung, p_at) m where m.hard_limit and m.filled loop
    v_missing := p_hold_usd - v_mine.left_usd - v_mine.free_usd;
    continue when v_missing <= 0;
    for v_other in
      select a.id from public.llm_scope_periods a
      where a.fleet_period_id = v_mine.fleet_period_id and a.tenant_id <> v_mine.tenant_id
        and a.granted_usd > a.reserved_usd + a.spent_usd + a.unknown_usd
      order by a.leased_until nulls first, a.id for no key update skip locked
    loop
      -- Read after the lock, by a statement of its own.
      select least(a.granted_usd - a.reserved_usd - a.spent_usd - a.unknown_usd, v_missing) into v_take
      from public.llm_scope_periods a where a.id = v_other.id;
      update public.llm_scope_periods a set granted_usd = a.granted_usd - v_take where a.id = v_other.id;
      update public.llm_fleet_periods p set allotted_usd = p.allotted_usd - v_take where p.id = v_mine.fleet_period_id;
      v_missing := v_missing - v_take;
      exit when v_missing <= 0;
    end loop;
  end loop;
  return true;
end
$$;

-- How long an allotment is leased, and for how long a chunk should last.
create function purser.allotment_lease() returns interval language sql immutable as $$ select interval '5 minutes' $$;

-- The size of a grant: what is missing, or what the tenant uses in the time of a lease, judged by its last grant, but no
-- more than a sixteenth of what is left of a hard limit.
create function purser.chunk_usd(
  p_missing_usd numeric, p_hold_usd numeric, p_free_usd numeric, p_last_grant_usd numeric, p_lasted interval
) returns numeric language sql immutable as $$
  select greatest(p_missing_usd, least(trunc(greatest(p_free_usd, 0) / 16, 9), trunc(coalesce(
    p_last_grant_usd * coalesce(least(4, 300 / greatest(extract(epoch from p_lasted), 1)), 1), 8 * p_hold_usd), 9)))
$$;

-- Grants what the hold of the chosen rung is missing. For the caller of lock_fleet; p_rung null: no call was admitted.
create function purser.grant_allotments(
  p_scopes purser.rung_scope[], p_rung integer, p_hold_usd numeric, p_at timestamptz
) returns void language plpgsql volatile as $$
declare
  v_mine record;
  v_grant numeric;
begin
  for v_mine in select m.* from purser.allotments_of(p_scopes, p_rung, p_at) m
    where p_rung is not null and m.left_usd < p_hold_usd
  loop
    v_grant := p_hold_usd - v_mine.left_usd;
    if v_mine.filled then
      v_grant := purser.chunk_usd(v_grant, p_hold_usd, case when v_mine.hard_limit then v_mine.free_usd end,
        v_mine.last_grant_usd, p_at - (v_mine.leased_until - purser.allotment_lease()));
    end if;
    update public.llm_scope_periods a
    set granted_usd = a.granted_usd + v_grant, last_grant_usd = v_grant, leased_until = p_at + purser.allotment_lease()
    where a.id = v_mine.allotment_id;
    update public.llm_fleet_periods p set allotted_usd = p.allotted_usd + v_grant where p.id = v_mine.fleet_period_id;
  end loop;
end
$$;

-- Grants what a movement uses beyond its allotments: a bill beyond its hold, or of a hold that was given back. For the
-- caller that holds their locks.
create function purser.extend_allotments(p_ids bigint[], p_more_usd numeric) returns void
language plpgsql volatile as $$
declare
  v_mine record;
begin
  for v_mine in
    select a.id, a.fleet_period_id, a.reserved_usd + a.spent_usd + a.unknown_usd + p_more_usd - a.granted_usd as usd
    from public.llm_scope_periods a
    where a.id = any (p_ids) and a.reserved_usd + a.spent_usd + a.unknown_usd + p_more_usd > a.granted_usd
    order by a.fleet_period_id
  loop
    update public.llm_fleet_periods p set allotted_usd = p.allotted_usd + v_mine.usd where p.id = v_mine.fleet_period_id;
    update public.llm_scope_periods a set granted_usd = a.granted_usd + v_mine.usd where a.id = v_mine.id;
  end loop;
end
$$;

-- What a refusal by a limit of the fleet says: of the counters the tenant's own.
create function purser.fleet_refusal(p_scope_id bigint, p_tenant_id text, p_at timestamptz,
  out title text, out period text, out used_usd numeric, out reserved_usd numeric, out resets_at timestamptz)
language plpgsql stable as $$
begin
  select purser.fleet_scope_title(s.kind, s.provider, s.subject), s.period, coalesce(a.spent_usd + a.unknown_usd, 0),
    coalesce(a.reserved_usd, 0), coalesce(p.ends_at, l.ends_at)
  into title, period, used_usd, reserved_usd, resets_at
  from public.llm_fleet_scopes s cross join lateral purser.local_period(s.period, s.time_zone, p_at) l
  left join public.llm_fleet_periods p on p.fleet_scope_id = s.id and p.starts_at <= p_at and p.ends_at > p_at
  left join public.llm_scope_periods a on a.fleet_period_id = p.id and a.tenant_id = p_tenant_id
  where s.id = p_scope_id and s.removed_at is null;
  if not found then
    -- Removed since: the next try is admitted.
    title := 'all calls';
    period := 'day';
    used_usd := 0;
    reserved_usd := 0;
    resets_at := p_at + interval '1 minute';
  end if;
end
$$;

-- What is left of a limit of the fleet for jobs that it refused, without what those need that are awake again.
create function purser.fleet_wake_room(p_scope_id bigint) returns numeric language plpgsql stable as $$
declare
  v_room numeric;
begin
  select s.available_usd into v_room from public.llm_fleet_status s where s.fleet_scope_id = p_scope_id;
  return v_room - (
    select coalesce(sum(n.needed_usd), 0) from (
      select w.job_id, w.needed_usd from purser.waiting w where w.needed_usd is not null
      union all
      select w.job_id, w.needed_usd from purser.later w where w.needed_usd is not null
      union all
      select w.job_id, w.needed_usd from purser.in_flight w where w.needed_usd is not null
    ) n
    cross join lateral (select f.scope_id from public.llm_refusals f
      where f.job_id = n.job_id order by f.id desc limit 1) f
    where f.scope_id = p_scope_id);
end
$$;

-- Adds a limit of the fleet, or changes its amount and zone. A new one binds from start_fleet_scope on. outcome: added,
-- changed or unchanged. Locks no other scope; the caller makes its period by open_fleet_periods.
create function purser.set_fleet_scope(
  p_kind text, p_provider text, p_subject text, p_period text, p_time_zone text, p_limit_usd numeric, p_hard boolean,
  p_by text, out outcome text, out scope_id bigint, out filled boolean
) language plpgsql volatile as $$
declare
  v_before public.llm_fleet_scopes;
begin
  perform purser.check_amount(p_limit_usd);
  if not exists (select from pg_timezone_names z where z.name = p_time_zone) then
    raise exception 'invalid_scope: % is not an IANA time zone; write it like Europe/Berlin', quote_literal(p_time_zone)
      using errcode = 'PU104';
  end if;
  filled := false;
  insert into public.llm_fleet_scopes (kind, provider, subject, period, time_zone, limit_usd, hard_limit, set_by)
  values (p_kind, p_provider, p_subject, p_period, p_time_zone, p_limit_usd, p_hard, p_by)
  on conflict do nothing
  returning id into scope_id;
  if found then
    outcome := 'added';
  else
    select s.* into v_before from public.llm_fleet_scopes s
    where s.kind = p_kind and s.provider is not distinct from p_provider and s.subject is not distinct from p_subject
      and s.period = p_period and s.removed_at is null
    for no key update;
    scope_id := v_before.id;
    filled := v_before.filled_at is not null;
    outcome := case when (v_before.time_zone, v_before.limit_usd, v_before.hard_limit)
      is not distinct from (p_time_zone, p_limit_usd, p_hard) then 'unchanged' else 'changed' end;
    if outcome = 'changed' then
      update public.llm_fleet_scopes s
      set time_zone = p_time_zone, limit_usd = p_limit_usd, hard_limit = p_hard, set_by = p_by, updated_at = now(),
        limit_version = s.limit_version + (s.limit_usd <> p_limit_usd)::integer
      where s.id = scope_id;
    end if;
  end if;
end
$$;

-- Counts and pins the calls of a tenant that were made in the running period before the scope was there. Once the months
-- are locked, each reserve of the tenant has either committed, or will see the scope. Returns how many were counted.
create function purser.fill_fleet_scope(p_scope_id bigint, p_tenant_id text, p_now timestamptz) returns integer
language plpgsql volatile as $$
declare
  v_now timestamptz := coalesce(p_now, clock_timestamp());
  v_scope public.llm_fleet_scopes;
  v_id bigint;
  v_allotment public.llm_scope_periods;
  v_sum record;
begin
  perform purser.lock_months(p_tenant_id, v_now);
  if not exists (select from public.tenants t where t.id = p_tenant_id) then
    return 0;
  end if;
  select s.* into v_scope from public.llm_fleet_scopes s where s.id = p_scope_id;
  perform from public.llm_fleet_periods p
  join public.llm_reservations r on r.tenant_id = p_tenant_id and r.created_at >= p.starts_at and r.created_at < p.ends_at
  where p.fleet_scope_id = p_scope_id and p.starts_at <= v_now and p.ends_at > v_now limit 1;
  if not found then
    return 0;
  end if;
  v_id := purser.open_allotment(p_scope_id, p_tenant_id, v_now);
  select a.* into v_allotment from public.llm_scope_periods a where a.id = v_id for no key update;
  if not found then
    return 0;
  end if;
  with counted as materialized (
    select r.id, r.status, r.estimated_cost_usd, u.cost_usd
    from public.llm_reservations r left join public.llm_usage u on u.reservation_id = r.id
    where r.tenant_id = p_tenant_id and r.created_at >= v_allotment.starts_at and r.created_at < v_allotment.ends_at
      and purser.fleet_scope_counts(v_scope, r.provider, r.provider_key, r.model, r.counts_apart)
      and not exists (select from public.llm_pins n
        where n.reservation_id = r.id and n.scope_period_id = v_allotment.id)
  ), pinned as (
    insert into public.llm_pins (reservation_id, scope_period_id, tenant_id)
    select c.id, v_allotment.id, p_tenant_id from counted c
  )
  select count(*)::integer as pins, count(*) filter (where c.status <> 'RELEASED') as calls,
    coalesce(sum(c.estimated_cost_usd) filter (where c.status = 'RESERVED'), 0) as reserved,
    coalesce(sum(c.cost_usd), 0) as spent,
    coalesce(sum(c.estimated_cost_usd) filter (where c.status = 'UNKNOWN'), 0) as unknown
  into v_sum from counted c;
  if v_sum.pins > 0 then
    update public.llm_fleet_periods p set allotted_usd = p.allotted_usd + v_sum.reserved + v_sum.spent + v_sum.unknown
    where p.id = v_allotment.fleet_period_id;
    update public.llm_scope_periods a
    set granted_usd = a.granted_usd + v_sum.reserved + v_sum.spent + v_sum.unknown, calls = a.calls + v_sum.calls,
      reserved_usd = a.reserved_usd + v_sum.reserved, spent_usd = a.spent_usd + v_sum.spent,
      unknown_usd = a.unknown_usd + v_sum.unknown
    where a.id = v_allotment.id;
  end if;
  return v_sum.pins;
end
$$;

-- From now on the limit binds. For the caller that has counted the calls of every tenant.
create function purser.start_fleet_scope(p_scope_id bigint) returns void language plpgsql volatile as $$
begin
  update public.llm_fleet_scopes s set filled_at = now() where s.id = p_scope_id and s.filled_at is null;
end
$$;

-- Waits until every reserve has ended that may have read the scopes as they were before. Of allotments in the order of
-- their ids, from p_after on: returns the last one, null at the end. Each call is a transaction of its own, so that no
-- tenant waits for another's.
create function purser.await_reserves(p_scope_id bigint, p_after bigint, p_limit integer) returns bigint
language plpgsql volatile as $$
declare
  v_id bigint;
  v_last bigint;
begin
  for v_id in
    select a.id from public.llm_scope_periods a
    join public.llm_fleet_periods p on p.id = a.fleet_period_id
    where p.fleet_scope_id = p_scope_id and p.ends_at > now() and a.id > p_after order by a.id limit p_limit
  loop
    perform from public.llm_scope_periods a where a.id = v_id for share;
    v_last := v_id;
  end loop;
  if v_last is null then
    -- A reserve whose allotment is new holds the fleet's row.
    perform from public.llm_fleet_periods p
    where p.fleet_scope_id = p_scope_id and p.ends_at > now() order by p.id for share;
  end if;
  return v_last;
end
$$;

-- From now on it binds nobody, and what is pinned to its allotments counts nowhere. False where there is none.
create function purser.remove_fleet_scope(p_kind text, p_provider text, p_subject text, p_period text) returns boolean
language plpgsql volatile as $$
begin
  update public.llm_fleet_scopes s set removed_at = now()
  where s.kind = p_kind and s.provider is not distinct from p_provider and s.subject is not distinct from p_subject
    and s.period = p_period and s.removed_at is null;
  return found;
end
$$;

-- Returns what is left of leases that have ended, raises the alerts that are due, makes the running periods and removes
-- removed scopes. Waits for no lock but that of a missing period's scope. The alerts are raised here and not
-- with the movements, since the sum over all tenants would make each settlement wait for the others.
create function purser.sweep_fleet(p_now timestamptz) returns integer language plpgsql volatile as $$
declare
  v_now timestamptz := coalesce(p_now, clock_timestamp());
  v_period record;
  v_id bigint;
  v_left_usd numeric;
  v_alerts integer;
  v_changes integer := 0;
begin
  if not exists (select from public.llm_fleet_scopes) then
    return 0;
  end if;
  perform purser.open_fleet_periods(v_now);
  insert into public.llm_alerts (tenant_id, kind, fleet_period_id, percent, limit_version, limit_usd, used_usd)
  select null, 'threshold', p.id, t.percent, s.limit_version, s.limit_usd, p.departed_usd + u.usd
  from public.llm_fleet_periods p
  join public.llm_fleet_scopes s on s.id = p.fleet_scope_id
  -- Unknown costs of a period end within two days of it.
  cross join lateral (select coalesce(sum(a.spent_usd + a.unknown_usd), 0) as usd
    from public.llm_scope_periods a where a.fleet_period_id = p.id) u
  cross join (values (50::smallint), (80::smallint), (100::smallint)) t (percent)
  where p.starts_at <= v_now and p.ends_at > v_now - interval '3 days' and s.filled_at is not null and s.removed_at is null
    and s.limit_usd > 0 and p.allotted_usd * 100 >= s.limit_usd * t.percent
    and (p.departed_usd + u.usd) * 100 >= s.limit_usd * t.percent
    and not exists (select from public.llm_alerts l where l.kind = 'threshold' and l.fleet_period_id = p.id
      and l.budget_id is null and l.percent = t.percent and l.limit_version = s.limit_version)
  on conflict do nothing;
  get diagnostics v_alerts = row_count;
  v_changes := v_alerts;
  for v_period in
    select p.id from public.llm_fleet_periods p
    where p.id in (select a.fleet_period_id from public.llm_scope_periods a where a.leased_until <= v_now)
    order by p.id for no key update skip locked
  loop
    v_left_usd := 0;
    for v_id in
      select a.id from public.llm_scope_periods a
      where a.fleet_period_id = v_period.id and a.leased_until <= v_now order by a.id for no key update skip locked
    loop
      -- Read after the lock, by a statement of its own.
      select v_left_usd + a.granted_usd - a.reserved_usd - a.spent_usd - a.unknown_usd into v_left_usd
      from public.llm_scope_periods a where a.id = v_id;
      update public.llm_scope_periods a
      set granted_usd = a.reserved_usd + a.spent_usd + a.unknown_usd, leased_until = null where a.id = v_id;
      v_changes := v_changes + 1;
    end loop;
    update public.llm_fleet_periods p set allotted_usd = p.allotted_usd - v_left_usd where p.id = v_period.id;
  end loop;
  -- A minute later: no reserve that has seen the scope runs any more.
  for v_period in
    select p.id from public.llm_fleet_scopes s join public.llm_fleet_periods p on p.fleet_scope_id = s.id
    where s.removed_at <= now() - interval '1 minute' order by p.id for update of p skip locked
  loop
    delete from public.llm_scope_periods a using (
      select d.id from public.llm_scope_periods d where d.fleet_period_id = v_period.id
      order by d.id limit 1000 for update skip locked) d
    where a.id = d.id;
    delete from public.llm_fleet_periods p where p.id = v_period.id
      and not exists (select from public.llm_scope_periods a where a.fleet_period_id = p.id);
    v_changes := v_changes + found::integer;
  end loop;
  delete from public.llm_fleet_scopes s using (
    select d.id from public.llm_fleet_scopes d where d.removed_at <= now() - interval '1 minute'
      and not exists (select from public.llm_fleet_periods p where p.fleet_scope_id = d.id)
    for update skip locked) d
  where s.id = d.id;
  return v_changes;
end
$$;

-- What a deleted tenant has used stays used.
create function purser.keep_departed() returns trigger language plpgsql security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_gone record;
begin
  for v_gone in
    select g.fleet_period_id as id, sum(g.granted_usd) as granted, sum(g.reserved_usd + g.spent_usd + g.unknown_usd) as used
    from gone g where g.fleet_period_id is not null group by 1 order by 1
  loop
    update public.llm_fleet_periods p
    set allotted_usd = p.allotted_usd - v_gone.granted + v_gone.used, departed_usd = p.departed_usd + v_gone.used
    where p.id = v_gone.id;
  end loop;
  return null;
end
$$;
create trigger keep_departed after delete on public.llm_scope_periods
  referencing old table as gone for each statement execute function purser.keep_departed();

select purser.protect_table('public.llm_fleet_scopes', '', 'kind');
select purser.protect_table('public.llm_fleet_periods', '', 'fleet_scope_id');
