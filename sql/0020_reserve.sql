-- The functions of every call that 0020 replaces: cheaper, with circuit breakers, own keys and limits of the fleet. What they
-- do is described in 0014_scopes.sql.

-- Locks the counters of several reservations, months by key and then periods of scopes by id. The caller has locked the
-- reservations. One row at a time, by its key: no plan can lock them in another order, or read more than them.
-- Of one reservation move_money locks them itself, in the same order.
create or replace function purser.lock_counters(p_ids uuid[]) returns void language plpgsql volatile as $$
declare
  v_month record;
  v_id bigint;
begin
  if cardinality(p_ids) < 2 then
    return;
  end if;
  for v_month in
    select distinct r.budget_id, r.period_start from unnest(p_ids) i (id)
    cross join lateral (select r.budget_id, r.period_start from public.llm_reservations r where r.id = i.id) r
    order by 1, 2
  loop
    perform from public.llm_budget_periods p
    where p.budget_id = v_month.budget_id and p.period_start = v_month.period_start for no key update;
  end loop;
  -- Read after the months are locked: a new scope pins under the same locks.
  for v_id in
    select distinct n.scope_period_id from unnest(p_ids) i (id)
    cross join lateral (select n.scope_period_id from public.llm_pins n where n.reservation_id = i.id) n
    order by 1
  loop
    perform from public.llm_scope_periods p where p.id = v_id for no key update;
  end loop;
end
$$;

-- One movement of a reservation, whose lock the caller holds: the counters of its month and of its scopes, and its row
-- in the ledger, whose ids are so in the order of the locks. The counters change by the same differences; calls is -1
-- for a hold that is given back.
create or replace function purser.move_money(
  p_hold public.llm_reservations, p_event text, p_reserved numeric, p_spent numeric, p_unknown numeric, p_calls integer
) returns void language plpgsql volatile as $$
declare
  v_scope_period_ids bigint[];
  v_id bigint;
  v_used numeric;
  v_top_up numeric;
  -- What counts apart moves the own counters of the month and not those that its limit is compared with.
  v_apart integer := p_hold.counts_apart::integer;
begin
  if p_event = 'reserve' then
    update public.llm_budget_periods p
    set reserved_usd = p.reserved_usd + p_reserved * (1 - v_apart),
      own_reserved_usd = p.own_reserved_usd + p_reserved * v_apart, holds = p.holds + 1,
      slot_calls = purser.count_call(p.call_slot, p.slot_calls, c.slot), call_slot = greatest(p.call_slot, c.slot)
    from (select floor(extract(epoch from p_hold.created_at) / 6)::bigint as slot) c
    where p.budget_id = p_hold.budget_id and p.period_start = p_hold.period_start;
  else
    update public.llm_budget_periods p
    set reserved_usd = p.reserved_usd + p_reserved * (1 - v_apart), spent_usd = p.spent_usd + p_spent * (1 - v_apart),
      unknown_usd = p.unknown_usd + p_unknown * (1 - v_apart),
      own_reserved_usd = p.own_reserved_usd + p_reserved * v_apart, own_spent_usd = p.own_spent_usd + p_spent * v_apart,
      own_unknown_usd = p.own_unknown_usd + p_unknown * v_apart,
      -- p_hold is the reservation as it was before.
      holds = p.holds - (p_hold.status = 'RESERVED')::integer
    where p.budget_id = p_hold.budget_id and p.period_start = p_hold.period_start
    returning p.spent_usd + p.unknown_usd, p.top_up_usd into v_used, v_top_up;
  end if;
  -- Read after the month is locked: a new scope pins under the same lock.
  for v_id in select n.scope_period_id from public.llm_pins n where n.reservation_id = p_hold.id order by 1 loop
    v_scope_period_ids := v_scope_period_ids || v_id;
    perform from public.llm_scope_periods p where p.id = v_id for no key update;
  end loop;
  if v_scope_period_ids is not null then
    if p_event <> 'reserve' and p_reserved + p_spent + p_unknown > 0 then
      perform purser.extend_allotments(v_scope_period_ids, p_reserved + p_spent + p_unknown);
    end if;
    update public.llm_scope_periods p
    set reserved_usd = p.reserved_usd + p_reserved, spent_usd = p.spent_usd + p_spent,
      unknown_usd = p.unknown_usd + p_unknown, calls = p.calls + p_calls
    where p.id = any (v_scope_period_ids);
  end if;
  insert into public.llm_ledger (tenant_id, budget_id, period_start, reservation_id, event,
    reserved_delta_usd, spent_delta_usd, unknown_delta_usd, available_delta_usd, counts_apart)
  values (p_hold.tenant_id, p_hold.budget_id, p_hold.period_start, p_hold.id, p_event,
    p_reserved, p_spent, p_unknown, -(p_reserved + p_spent + p_unknown), p_hold.counts_apart);
  -- The first alert of a limit is that of its half. The limit is read after the month is locked, as it changes.
  if p_spent + p_unknown > 0 and (v_scope_period_ids is not null
    or v_used * 2 >= v_top_up + (select b.monthly_limit_usd from public.llm_budgets b where b.id = p_hold.budget_id)) then
    perform purser.raise_alerts(p_hold.budget_id, p_hold.period_start, v_scope_period_ids);
  end if;
end
$$;

-- The scopes of all rungs, those of the fleet by ids below 0 and the tenant's id; null where there are none.
create or replace function purser.scopes_of_rungs(
  p_tenant_id text, p_job_id bigint, p_job_type text, p_provider_key text, p_end_user text, p_rungs jsonb
) returns purser.rung_scope[] language plpgsql volatile as $$
begin
  if not exists (select from public.llm_scopes s where s.tenant_id = p_tenant_id)
    and not exists (select from public.llm_fleet_scopes) then
    return null;
  end if;
  return array(
    select row(r.number, c.scope_id, c.value, c.binds)::purser.rung_scope
    from jsonb_array_elements(p_rungs) with ordinality r (rung, number)
    cross join lateral purser.scopes_of_call(p_tenant_id, p_job_id, p_job_type, r.rung ->> 'model', p_provider_key,
      p_end_user) c
    where not r.rung ? 'counts_apart'
      or purser.scope_counts((select s.kind from public.llm_scopes s where s.id = c.scope_id), true)
    union all
    select row(r.number, f.id, p_tenant_id, true)::purser.rung_scope
    from jsonb_array_elements(p_rungs) with ordinality r (rung, number)
    join public.llm_fleet_scopes f on f.removed_at is null
      and purser.fleet_scope_counts(f, r.rung ->> 'provider', p_provider_key, r.rung ->> 'model',
        r.rung ? 'counts_apart'));
end
$$;

drop function purser.choose_rung(jsonb, uuid, date, purser.rung_scope[], timestamptz);

-- Chooses the first rung that every hard limit has room for. Of the fleet's limits a tenant has what no other has, and
-- with p_leftovers also what others have been granted and do not use.
create or replace function purser.choose_rung(
  p_rungs jsonb, p_budget_id uuid, p_period_start date, p_scopes purser.rung_scope[], p_at timestamptz,
  p_leftovers boolean default true
) returns purser.budget_choice language plpgsql volatile as $$
declare
  v_choice purser.budget_choice;
begin
  with rung as (
    select r.number::integer as number, (r.rung ->> 'hold_usd')::numeric as hold_usd,
      (r.rung ->> 'max_output_tokens')::bigint as cap, (r.rung ->> 'min_output_tokens')::bigint as min_cap,
      (r.rung ->> 'fixed_usd')::numeric as fixed_usd, (r.rung ->> 'output_usd_per_mtok')::numeric as rate,
      r.rung ? 'counts_apart' as counts_apart
    from jsonb_array_elements(p_rungs) with ordinality r (rung, number)
    where not coalesce((r.rung -> 'stopped')::boolean, false)
  ), priced as (
    select r.*, coalesce(ceil((r.fixed_usd + r.min_cap * r.rate / 1000000) * 1e9) / 1e9, r.hold_usd) as least_usd
    from rung r
  ), limits as (
    select r.number, null::bigint as scope_id, null::text as value,
      case when not r.counts_apart then b.monthly_limit_usd + coalesce(p.top_up_usd, 0) end as limit_usd,
      null::bigint as limit_calls, b.hard_limit, coalesce(p.spent_usd + p.unknown_usd, 0) as used_usd,
      coalesce(p.reserved_usd, 0) as reserved_usd, null::bigint as calls
    from rung r join public.llm_budgets b on b.id = p_budget_id
    left join public.llm_budget_periods p on p.budget_id = b.id and p.period_start = p_period_start
    union all
    select n.rung, s.id, n.value, s.limit_usd + coalesce(p.top_up_usd, 0), s.limit_calls, s.hard_limit,
      coalesce(p.spent_usd + p.unknown_usd, 0), coalesce(p.reserved_usd, 0), coalesce(p.calls, 0)
    from unnest(p_scopes) n
    join public.llm_scopes s on s.id = n.scope_id
    left join lateral (select p.* from public.llm_scope_periods p
      where p.scope_id = n.scope_id and p.value = n.value and p.starts_at <= p_at and p.ends_at > p_at) p on true
    where n.binds
    union all
    select n.rung, f.id, '*', f.limit_usd, null, f.hard_limit and f.filled_at is not null and f.removed_at is null,
      f.limit_usd - o.room_usd - o.reserved_usd, o.reserved_usd, null
    from unnest(p_scopes) n
    join public.llm_fleet_scopes f on f.id = n.scope_id
    join rung r on r.number = n.rung
    cross join lateral purser.fleet_room(f.id, n.value, p_at, case when p_leftovers then r.hold_usd end) o
  ), room as (
    select l.*, coalesce(l.limit_usd = 0, false) or coalesce(l.limit_calls <= l.calls, false) as closed,
      l.limit_usd - l.used_usd - l.reserved_usd as room_usd
    from limits l
  ), offer as (
    select r.number, r.hold_usd, r.cap, r.least_usd, r.min_cap, r.fixed_usd, r.rate,
      coalesce(bool_or(o.closed) filter (where o.hard_limit), false) as closed,
      min(o.room_usd) filter (where o.hard_limit) as room_usd,
      bool_or(o.closed or coalesce(o.room_usd < r.hold_usd, false)) as over_limit
    from priced r join room o on o.number = r.number
    group by r.number, r.hold_usd, r.cap, r.least_usd, r.min_cap, r.fixed_usd, r.rate
  ), fitting as (
    select o.number, o.over_limit,
      case when o.room_usd is null or o.hold_usd <= o.room_usd then o.cap
        else least(o.cap, floor((o.room_usd - o.fixed_usd) * 1000000 / o.rate)::bigint) end as cap, o.hold_usd, o.cap as full_cap,
      o.fixed_usd, o.rate
    from offer o
    where not o.closed and (o.room_usd is null or o.hold_usd <= o.room_usd
      or (o.min_cap is not null and o.rate > 0 and o.least_usd <= o.room_usd))
    order by o.number limit 1
  ), bound as (
    select o.*, c.least_usd as needed_usd
    from (select p.number, p.least_usd from priced p order by p.least_usd, p.number limit 1) c
    join room o on o.number = c.number and o.hard_limit
    where o.closed or o.room_usd < c.least_usd
    order by o.closed desc, o.room_usd limit 1
  )
  select f.number, case when f.cap is distinct from f.full_cap
      then ceil((f.fixed_usd + f.cap * f.rate / 1000000) * 1e9) / 1e9 else f.hold_usd end, f.cap, f.over_limit,
    b.needed_usd, b.scope_id, b.value, b.limit_usd, b.limit_calls, b.used_usd, b.reserved_usd, b.calls
  into v_choice.rung, v_choice.hold_usd, v_choice.max_output_tokens, v_choice.over_limit,
    v_choice.needed_usd, v_choice.scope_id, v_choice.value, v_choice.limit_usd, v_choice.limit_calls, v_choice.used_usd,
    v_choice.reserved_usd, v_choice.used_calls
  from (values (1)) one (n) left join fitting f on true left join bound b on true;
  return v_choice;
end
$$;

-- The calls of the last minute, from the calls by slots of 6 seconds.
create function purser.calls_of_minute(p_call_slot bigint, p_slot_calls integer[], p_slot bigint) returns bigint
language plpgsql immutable as $$
declare
  v_calls bigint := 0;
begin
  for v_place in 1 .. least(cardinality(p_slot_calls), 11 - (p_slot - p_call_slot)) loop
    v_calls := v_calls + p_slot_calls[v_place];
  end loop;
  return v_calls;
end
$$;

-- Takes a hold, or says why not. outcome: reserved; replayed (this key already holds the same request); conflict (this
-- key holds another); refused (a hard limit); stopped (by an operator); limited (by fair use: scope_kind says
-- calls_per_minute or calls_in_flight); key_removed (the tenant's own); stale_token; unknown_tenant. A refusal names
-- the limit that bound: the tenant's month, or a scope by its kind and value.
-- It decides twice: a refusal that is already certain takes no lock, and what would be admitted is decided again under
-- the lock of the month. Separate statements in READ COMMITTED, each with its own snapshot: one statement could neither
-- see the rows that it has just inserted nor a limit that changed while it waited for a lock.
create or replace function purser.budget_reserve(
  p_tenant_id text, p_job_id bigint, p_attempt integer, p_token uuid, p_key text, p_ttl interval,
  p_provider_key text, p_end_user text, p_rungs jsonb, p_now timestamptz,
  out outcome text, out reservation_id uuid, out status text, out sent_at timestamptz, out expires_at timestamptz,
  out rung integer, out hold_usd numeric, out max_output_tokens bigint, out over_limit boolean,
  out scope_kind text, out scope_value text, out scope_period text, out limit_usd numeric, out limit_calls bigint,
  out used_usd numeric, out reserved_usd numeric, out used_calls bigint, out needed_usd numeric,
  out resets_at timestamptz
) language plpgsql volatile as $$
declare
  v_now timestamptz := coalesce(p_now, clock_timestamp());
  v_month date := date_trunc('month', v_now at time zone 'UTC')::date;
  v_month_before date := (v_month - interval '1 month')::date;
  v_slot bigint := floor(extract(epoch from v_now) / 6);
  -- One request, which may not be made smaller.
  v_is_single boolean := jsonb_array_length(p_rungs) = 1 and not p_rungs -> 0 ? 'min_output_tokens';
  v_is_locked boolean := false;
  v_digest text;
  v_at record;
  v_twin record;
  v_scopes purser.rung_scope[];
  v_scope record;
  v_rungs jsonb := p_rungs;
  v_rung jsonb;
  v_choice purser.budget_choice;
  v_hold public.llm_reservations;
  v_apart boolean := false;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'wrong_isolation: reserve needs READ COMMITTED' using errcode = 'PU102';
  end if;
  -- Of the request as it was asked for: what was chosen of it depends on the limits, and prices change.
  if jsonb_array_length(p_rungs) = 1 then
    v_rung := p_rungs -> 0;
    perform purser.check_amount((v_rung ->> 'hold_usd')::numeric);
    v_digest := md5(jsonb_build_array(p_job_id, p_attempt, p_provider_key, p_end_user,
      jsonb_build_array(v_rung - 'price'))::text);
  else
    perform purser.check_amount((r ->> 'hold_usd')::numeric) from jsonb_array_elements(p_rungs) r;
    select md5(jsonb_build_array(p_job_id, p_attempt, p_provider_key, p_end_user, jsonb_agg(r - 'price'))::text)
    into v_digest from jsonb_array_elements(p_rungs) r;
  end if;

  loop
    if not v_is_locked then
      select f.job_type, t.id as tenant_id, b.id as budget_id, b.monthly_limit_usd, b.hard_limit,
        coalesce(t.max_calls_per_minute, l.max_calls_per_minute) as calls_per_minute,
        coalesce(t.max_calls_in_flight, l.max_calls_in_flight) as calls_in_flight,
        p.period_start, p.spent_usd + p.unknown_usd as used_usd, p.reserved_usd, p.top_up_usd,
        p.holds, coalesce(o.holds, 0) as holds_before, p.call_slot, p.slot_calls,
        coalesce(o.call_slot, 0) as call_slot_before, coalesce(o.slot_calls, '{}') as slot_calls_before,
        exists (select from public.llm_scopes s where s.tenant_id = p_tenant_id)
          or exists (select from public.llm_fleet_scopes) as has_scopes,
        exists (select from public.llm_stops) as has_stops
      into v_at
      from purser.in_flight f
      left join lateral (select t.* from public.tenants t where t.id = f.tenant_id) t on true
      left join lateral (select l.* from public.plans l where l.plan = t.plan) l on true
      left join lateral (select b.* from public.llm_budgets b where b.tenant_id = f.tenant_id) b on true
      left join lateral (select p.* from public.llm_budget_periods p
        where p.budget_id = b.id and p.period_start = v_month) p on true
      left join lateral (select o.* from public.llm_budget_periods o
        where o.budget_id = b.id and o.period_start = v_month_before) o on true
      where f.job_id = p_job_id and f.token = p_token and f.tenant_id = p_tenant_id and f.attempt = p_attempt;
      if not found then
        outcome := 'stale_token';
        return;
      end if;
      if v_at.tenant_id is null then
        outcome := 'unknown_tenant';
        return;
      end if;
      if v_at.budget_id is null then
        insert into public.llm_budgets (tenant_id, monthly_limit_usd)
        select t.id, l.monthly_limit_usd from public.tenants t join public.plans l on l.plan = t.plan
        where t.id = p_tenant_id
        on conflict (tenant_id) do nothing;
        continue;
      end if;
      if v_at.period_start is null then
        insert into public.llm_budget_periods (budget_id, period_start, tenant_id)
        values (v_at.budget_id, v_month, p_tenant_id)
        on conflict (budget_id, period_start) do nothing;
        continue;
      end if;
    end if;

    if p_provider_key like 'own:%' and not v_is_locked then
      select not k.counts_against_budget into v_apart from public.llm_provider_keys k
      where k.tenant_id = p_tenant_id and k.provider = substr(p_provider_key, 5);
      if not found then
        v_apart := false;
        outcome := 'key_removed';
        exit;
      end if;
      if v_apart then
        v_rungs := (select jsonb_agg(o.rung || '{"counts_apart": true}' order by o.number)
          from jsonb_array_elements(p_rungs) with ordinality o (rung, number));
      end if;
    end if;
    if v_at.has_stops and not v_is_locked then
      select jsonb_agg(o.rung || jsonb_build_object('stopped',
        purser.is_stopped(p_tenant_id, o.rung ->> 'provider', o.rung ->> 'model')) order by o.number)
      into v_rungs from jsonb_array_elements(v_rungs) with ordinality o (rung, number);
      if not v_rungs @? '$[*] ? (@.stopped == false)' then
        outcome := 'stopped';
        needed_usd := (select min((r ->> 'hold_usd')::numeric) from jsonb_array_elements(p_rungs) r);
        exit;
      end if;
    end if;
    if v_at.holds + v_at.holds_before >= v_at.calls_in_flight
      or purser.calls_of_minute(v_at.call_slot, v_at.slot_calls, v_slot)
        + purser.calls_of_minute(v_at.call_slot_before, v_at.slot_calls_before, v_slot) >= v_at.calls_per_minute then
      select 'limited', f.kind, f.most, f.used, f.free_at into outcome, scope_kind, limit_calls, used_calls, resets_at
      from purser.fair_use_of(p_tenant_id, v_at.budget_id, v_month, v_now) f where f.kind is not null;
      exit when found;
    end if;

    v_choice := null;
    if v_is_single and not v_at.has_scopes then
      -- The common case: one request, and no limit but the month's. A scope of the first pass may be gone.
      v_scopes := null;
      v_choice.hold_usd := (v_rung ->> 'hold_usd')::numeric;
      v_choice.limit_usd := case when not v_apart then v_at.monthly_limit_usd + v_at.top_up_usd end;
      v_choice.used_usd := v_at.used_usd;
      v_choice.reserved_usd := v_at.reserved_usd;
      v_choice.over_limit := v_choice.limit_usd = 0
        or v_choice.used_usd + v_choice.reserved_usd + v_choice.hold_usd > v_choice.limit_usd;
      if v_at.hard_limit and v_choice.over_limit then
        v_choice.needed_usd := v_choice.hold_usd;
      else
        v_choice.rung := 1;
        v_choice.max_output_tokens := (v_rung ->> 'max_output_tokens')::bigint;
      end if;
    else
      v_scopes := purser.scopes_of_rungs(p_tenant_id, p_job_id, v_at.job_type, p_provider_key, p_end_user, v_rungs);
      if v_is_locked and v_scopes is not null then
        for v_scope in
          select o.id from (
            select distinct purser.open_scope_period(n.scope_id, n.value, v_now) as id
            from (select distinct u.scope_id, u.value from unnest(v_scopes) u) n) o
          order by o.id
        loop
          perform from public.llm_scope_periods p where p.id = v_scope.id for no key update;
        end loop;
      end if;
      v_choice := purser.choose_rung(v_rungs, v_at.budget_id, v_month, v_scopes, v_now);
      if v_is_locked and v_scopes is not null and v_choice.rung is not null
        and purser.lock_fleet(v_scopes, v_choice.rung, v_choice.hold_usd, v_now) then
        v_choice := purser.choose_rung(v_rungs, v_at.budget_id, v_month, v_scopes, v_now, false);
        perform purser.grant_allotments(v_scopes, v_choice.rung, v_choice.hold_usd, v_now);
      end if;
    end if;
    if v_choice.rung is null then
      outcome := 'refused';
    end if;
    exit when v_is_locked or v_choice.rung is null;

    -- Whoever ends the attempt deletes this row: it was first, or it waits until the hold is committed.
    perform from purser.in_flight f where f.job_id = p_job_id and f.token = p_token for key share;
    if not found then
      outcome := 'stale_token';
      return;
    end if;
    -- The row as it is once it is locked. What does not change under this lock is as the first pass has read it.
    select p.spent_usd + p.unknown_usd, p.reserved_usd, p.top_up_usd, p.holds, p.call_slot, p.slot_calls
    into v_at.used_usd, v_at.reserved_usd, v_at.top_up_usd, v_at.holds, v_at.call_slot, v_at.slot_calls
    from public.llm_budget_periods p
    where p.budget_id = v_at.budget_id and p.period_start = v_month for no key update;
    if not found then
      -- The tenant was deleted meanwhile.
      outcome := 'unknown_tenant';
      return;
    end if;
    -- A limit that was set, or the first scope that was added, before the lock was taken.
    select b.monthly_limit_usd, b.hard_limit,
      exists (select from public.llm_scopes s where s.tenant_id = p_tenant_id)
        or exists (select from public.llm_fleet_scopes)
    into v_at.monthly_limit_usd, v_at.hard_limit, v_at.has_scopes
    from public.llm_budgets b where b.id = v_at.budget_id;
    v_is_locked := true;
  end loop;

  if outcome is null then
    v_rung := p_rungs -> (v_choice.rung - 1);
    insert into public.llm_reservations as r (budget_id, period_start, tenant_id, job_id, attempt, job_type,
      estimated_cost_usd, created_at, expires_at, idempotency_key, provider, model, price, provider_key, end_user,
      request_digest, max_output_tokens, counts_apart)
    values (v_at.budget_id, v_month, p_tenant_id, p_job_id, p_attempt, v_at.job_type,
      v_choice.hold_usd, v_now, v_now + p_ttl, p_key, v_rung ->> 'provider', v_rung ->> 'model', v_rung -> 'price',
      p_provider_key, p_end_user, v_digest, v_choice.max_output_tokens, v_apart)
    on conflict (tenant_id, idempotency_key) do nothing
    returning r.* into v_hold;
  end if;
  if v_hold.id is null then
    -- The same key again, after an answer that was lost, or of a twin that came first: its hold is part of the sums.
    select f.* into v_twin from purser.find_reservation(p_tenant_id, p_key, v_digest, p_rungs) f;
    if found then
      outcome := v_twin.outcome;
      reservation_id := v_twin.reservation_id;
      status := v_twin.status;
      sent_at := v_twin.sent_at;
      expires_at := v_twin.expires_at;
      hold_usd := v_twin.hold_usd;
      max_output_tokens := v_twin.max_output_tokens;
      rung := v_twin.rung;
      return;
    end if;
    if outcome in ('limited', 'key_removed') then
      return;
    end if;
    if outcome = 'refused' then
      resets_at := (v_month + interval '1 month') at time zone 'UTC';
      limit_usd := v_choice.limit_usd;
      limit_calls := v_choice.limit_calls;
      used_usd := v_choice.used_usd;
      reserved_usd := v_choice.reserved_usd;
      used_calls := v_choice.used_calls;
      needed_usd := v_choice.needed_usd;
      if v_choice.scope_id is not null then
        select s.kind, v_choice.value, s.period, nullif(coalesce(p.ends_at, l.ends_at), 'infinity')
        into scope_kind, scope_value, scope_period, resets_at
        from public.llm_scopes s cross join lateral purser.local_period(s.period, s.time_zone, v_now) l
        left join public.llm_scope_periods p on p.scope_id = s.id and p.value = v_choice.value
          and p.starts_at <= v_now and p.ends_at > v_now
        where s.id = v_choice.scope_id;
        if v_choice.scope_id < 0 then
          select 'fleet', f.* into scope_kind, scope_value, scope_period, used_usd, reserved_usd, resets_at
          from purser.fleet_refusal(v_choice.scope_id, p_tenant_id, v_now) f;
        end if;
      end if;
    end if;
    insert into public.llm_refusals (tenant_id, job_id, job_type, provider, model, scope_id, value, stopped,
      period_start, needed_usd, counts_apart, provider_key)
    values (p_tenant_id, p_job_id, v_at.job_type, p_rungs -> 0 ->> 'provider', p_rungs -> 0 ->> 'model',
      v_choice.scope_id, v_choice.value, outcome = 'stopped', v_month, needed_usd, v_apart, p_provider_key);
    -- Nothing depends on the count of refusals after a crash.
    perform set_config('synchronous_commit', 'off', true);
    return;
  end if;

  -- The scopes of the rung that was chosen, those that do not bind it included.
  if v_scopes is not null then
    insert into public.llm_pins (reservation_id, scope_period_id, tenant_id)
    select v_hold.id, o.id, p_tenant_id
    from unnest(v_scopes) n cross join lateral purser.open_scope_period(n.scope_id, n.value, v_now) o (id)
    -- A scope of the fleet may be removed meanwhile.
    where n.rung = v_choice.rung and o.id is not null;
  end if;
  perform purser.move_money(v_hold, 'reserve', v_choice.hold_usd, 0, 0, 1);
  outcome := 'reserved';
  reservation_id := v_hold.id;
  status := v_hold.status;
  expires_at := v_hold.expires_at;
  rung := v_choice.rung;
  hold_usd := v_choice.hold_usd;
  max_output_tokens := v_choice.max_output_tokens;
  over_limit := v_choice.over_limit;
end
$$;

-- Takes the holds of several calls of one tenant at once: the month is locked, written and committed once. For the common
-- case only: no scopes, no stops, one form of the request, the platform's credential, one month. It answers those that it has
-- admitted; any other (a refusal, a repeated key, an attempt that has ended) has changed nothing and is for budget_reserve.
create function purser.budget_reserve_many(p_tenant_id text, p_calls jsonb)
returns table (place integer, reservation_id uuid, expires_at timestamptz, hold_usd numeric, max_output_tokens bigint,
  over_limit boolean)
language plpgsql volatile as $$
#variable_conflict use_column
declare
  v_now timestamptz := coalesce((p_calls -> 0 ->> 'now')::timestamptz, clock_timestamp());
  v_month date := date_trunc('month', v_now at time zone 'UTC')::date;
  v_slot bigint := floor(extract(epoch from v_now) / 6);
  v_budget_id uuid;
  v_at record;
  v_call record;
  v_room integer;
  v_used_usd numeric;
  v_is_over boolean;
  v_keys text[] := '{}';
  v_admitted bigint[] := '{}';
  v_over bigint[] := '{}';
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'wrong_isolation: reserve needs READ COMMITTED' using errcode = 'PU102';
  end if;
  -- Where not even the smallest hold fits, no lock is taken.
  select b.id into v_budget_id
  from public.llm_budgets b join public.llm_budget_periods p on p.budget_id = b.id and p.period_start = v_month
  where b.tenant_id = p_tenant_id and (not b.hard_limit or p.spent_usd + p.unknown_usd + p.reserved_usd
    + (select min((c -> 'rung' ->> 'hold_usd')::numeric) from jsonb_array_elements(p_calls) c)
    <= b.monthly_limit_usd + p.top_up_usd);
  if not found then
    return;
  end if;
  -- The attempts ahead of the month, as budget_reserve locks them, and by their keys.
  for v_call in select distinct (c ->> 'job_id')::bigint as job_id from jsonb_array_elements(p_calls) c order by 1 loop
    perform from purser.in_flight f where f.job_id = v_call.job_id and f.tenant_id = p_tenant_id for key share;
  end loop;
  perform from public.llm_budget_periods p
  where p.budget_id = v_budget_id and p.period_start = v_month for no key update;
  if not found then
    return;
  end if;
  select b.monthly_limit_usd + p.top_up_usd as limit_usd, b.hard_limit,
    p.spent_usd + p.unknown_usd + p.reserved_usd as used_usd,
    coalesce(t.max_calls_per_minute, l.max_calls_per_minute)
      - purser.calls_of_minute(p.call_slot, p.slot_calls, v_slot)
      - purser.calls_of_minute(coalesce(o.call_slot, 0), coalesce(o.slot_calls, '{}'), v_slot) as calls_left,
    coalesce(t.max_calls_in_flight, l.max_calls_in_flight) - p.holds - coalesce(o.holds, 0) as slots_left
  into v_at
  from public.tenants t
  join public.plans l on l.plan = t.plan
  join public.llm_budgets b on b.id = v_budget_id
  join public.llm_budget_periods p on p.budget_id = b.id and p.period_start = v_month
  left join public.llm_budget_periods o
    on o.budget_id = b.id and o.period_start = (v_month - interval '1 month')::date
  where t.id = p_tenant_id
    and not exists (select from public.llm_scopes s where s.tenant_id = p_tenant_id)
    and not exists (select from public.llm_fleet_scopes)
    and not exists (select from public.llm_stops);
  if not found then
    return;
  end if;

  v_room := least(v_at.calls_left, v_at.slots_left);
  v_used_usd := v_at.used_usd;
  for v_call in
    select e.place, e.call ->> 'key' as key, (e.call -> 'rung' ->> 'hold_usd')::numeric as hold_usd
    from jsonb_array_elements(p_calls) with ordinality e (call, place)
    join purser.in_flight f on f.job_id = (e.call ->> 'job_id')::bigint and f.token = (e.call ->> 'token')::uuid
      and f.tenant_id = p_tenant_id and f.attempt = (e.call ->> 'attempt')::integer
    where date_trunc('month', coalesce((e.call ->> 'now')::timestamptz, v_now) at time zone 'UTC') = v_month
    order by e.place
  loop
    perform purser.check_amount(v_call.hold_usd);
    v_is_over := v_at.limit_usd = 0 or v_used_usd + v_call.hold_usd > v_at.limit_usd;
    continue when cardinality(v_admitted) >= v_room or v_is_over and v_at.hard_limit or v_call.key = any (v_keys);
    v_used_usd := v_used_usd + v_call.hold_usd;
    v_keys := v_keys || v_call.key;
    v_admitted := v_admitted || v_call.place;
    if v_is_over then
      v_over := v_over || v_call.place;
    end if;
  end loop;

  return query
  with call as (
    select e.place, e.call ->> 'key' as key, (e.call ->> 'job_id')::bigint as job_id,
      (e.call ->> 'attempt')::integer as attempt, (e.call ->> 'ttl_ms')::double precision as ttl_ms,
      e.call ->> 'provider_key' as provider_key, e.call ->> 'end_user' as end_user, e.call -> 'rung' as rung,
      coalesce((e.call ->> 'now')::timestamptz, v_now) as at
    from jsonb_array_elements(p_calls) with ordinality e (call, place)
    where e.place = any (v_admitted)
  ), hold as (
    -- A key that was used before admits nothing.
    insert into public.llm_reservations as r (budget_id, period_start, tenant_id, job_id, attempt, job_type,
      estimated_cost_usd, created_at, expires_at, idempotency_key, provider, model, price, provider_key, end_user,
      request_digest, max_output_tokens)
    select v_budget_id, v_month, p_tenant_id, c.job_id, c.attempt, f.job_type, (c.rung ->> 'hold_usd')::numeric, c.at,
      c.at + c.ttl_ms * interval '1 millisecond', c.key, c.rung ->> 'provider', c.rung ->> 'model', c.rung -> 'price',
      c.provider_key, c.end_user,
      md5(jsonb_build_array(c.job_id, c.attempt, c.provider_key, c.end_user, jsonb_build_array(c.rung - 'price'))::text),
      (c.rung ->> 'max_output_tokens')::bigint
    from call c join purser.in_flight f on f.job_id = c.job_id
    order by c.place
    on conflict (tenant_id, idempotency_key) do nothing
    returning r.id, r.idempotency_key, r.estimated_cost_usd, r.expires_at, r.max_output_tokens
  ), total as (
    select count(*) as holds, sum(h.estimated_cost_usd) as usd from hold h
  ), month as (
    update public.llm_budget_periods p
    set reserved_usd = p.reserved_usd + t.usd, holds = p.holds + t.holds,
      slot_calls = (c.calls[1] + t.holds - 1)::integer || c.calls[2:11], call_slot = greatest(p.call_slot, v_slot)
    from total t, (select purser.count_call(o.call_slot, o.slot_calls, v_slot) as calls
      from public.llm_budget_periods o where o.budget_id = v_budget_id and o.period_start = v_month) c
    where p.budget_id = v_budget_id and p.period_start = v_month and t.holds > 0
  ), moved as (
    insert into public.llm_ledger (tenant_id, budget_id, period_start, reservation_id, event,
      reserved_delta_usd, spent_delta_usd, unknown_delta_usd, available_delta_usd, counts_apart)
    select p_tenant_id, v_budget_id, v_month, h.id, 'reserve', h.estimated_cost_usd, 0, 0, -h.estimated_cost_usd, false
    from hold h
  )
  select c.place::integer, h.id, h.expires_at, h.estimated_cost_usd, h.max_output_tokens, c.place = any (v_over)
  from hold h join call c on c.key = h.idempotency_key;
end
$$;

-- Marks the requests of several holds as sent, in one commit. Answers those that it has marked; of any other, and where
-- there are stops, it has changed nothing, and it is for budget_mark_sent.
create function purser.budget_mark_sent_many(p_ids uuid[]) returns setof uuid language plpgsql volatile as $$
declare
  v_now timestamptz := clock_timestamp();
  v_ids uuid[];
begin
  if exists (select from public.llm_stops) then
    return;
  end if;
  v_ids := array(
    select r.id from public.llm_reservations r
    where r.id = any (p_ids) and r.status = 'RESERVED' and r.sent_at is null and r.expires_at > v_now
    order by r.id for no key update);
  return query
  update public.llm_reservations r set sent_at = v_now where r.id = any (v_ids) returning r.id;
end
$$;

-- The figures of llm_usage and llm_usage_items from the items of a bill, which are checked: they add up to the cost.
-- p_hold is the reservation as it was before; what has no usage yet has no items that would be replaced.
create or replace function purser.write_usage(
  p_hold public.llm_reservations, p_cost_usd numeric, p_items jsonb, p_served_model text, p_service_tier text,
  p_uncovered text[], p_assumed boolean, p_at timestamptz
) returns void language plpgsql volatile as $$
begin
  if p_hold.status = 'APPLIED' then
    delete from public.llm_usage_items i where i.reservation_id = p_hold.id;
  end if;
  insert into public.llm_usage as u (reservation_id, tenant_id, input_tokens, output_tokens, cached_tokens,
    reasoning_tokens, cost_usd, overage_usd, items, served_model, service_tier, uncovered, assumed, at)
  select p_hold.id, p_hold.tenant_id,
    coalesce(sum(i.count) filter (where purser.usage_total(i.class) = 'input'), 0),
    coalesce(sum(i.count) filter (where purser.usage_total(i.class) = 'output'), 0),
    coalesce(sum(i.count) filter (where i.class like 'cache\_read%'), 0),
    coalesce(sum(i.count) filter (where i.class = 'reasoning'), 0),
    p_cost_usd, greatest(p_cost_usd - p_hold.estimated_cost_usd, 0), count(*), left(p_served_model, 200),
    left(p_service_tier, 200), p_uncovered, p_assumed, p_at
  from jsonb_to_recordset(p_items) i (class text, count bigint)
  on conflict (reservation_id) do update
  set input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens,
    cached_tokens = excluded.cached_tokens, reasoning_tokens = excluded.reasoning_tokens, cost_usd = excluded.cost_usd,
    overage_usd = excluded.overage_usd, items = excluded.items, assumed = excluded.assumed,
    served_model = coalesce(excluded.served_model, u.served_model),
    service_tier = coalesce(excluded.service_tier, u.service_tier), uncovered = excluded.uncovered;
  insert into public.llm_usage_items (reservation_id, class, tenant_id, count, usd, per, amount_usd)
  select p_hold.id, i.class, p_hold.tenant_id, i.count, i.usd, i.per,
    i.count * coalesce(i.usd, 0) * case i.per when 1000000 then 0.000001 when 1000 then 0.001 else 1 end
  from jsonb_to_recordset(p_items) i (class text, count bigint, usd numeric, per integer);
end
$$;

-- Tells once that a call has cost more than its hold.
create function purser.raise_overage(p_hold public.llm_reservations, p_cost_usd numeric) returns void
language plpgsql volatile as $$
begin
  if p_cost_usd > p_hold.estimated_cost_usd then
    insert into public.llm_alerts (tenant_id, kind, budget_id, period_start, reservation_id, limit_version, limit_usd,
      used_usd)
    values (p_hold.tenant_id, 'overage', p_hold.budget_id, p_hold.period_start, p_hold.id, 0, p_hold.estimated_cost_usd,
      p_cost_usd)
    on conflict do nothing;
  end if;
end
$$;

-- Charges a bill into the reservation's own periods and frees the hold, once. No attempt token is needed: the money was
-- spent. Also replaces an UNKNOWN, charges a RELEASED that was billed after all, and corrects an assumed settlement.
-- p_items: [{class, count, usd, per}]; their sum, rounded up to 9 decimals, must be p_cost_usd.
-- outcome: settled; replayed (before, with the same bill); conflict (another bill); unknown_reservation.
create or replace function purser.budget_settle(
  p_reservation_id uuid, p_cost_usd numeric, p_items jsonb, p_served_model text, p_service_tier text,
  p_uncovered text[], p_request_id text, p_now timestamptz,
  out outcome text, out overage_usd numeric, out hold_usd numeric
) language plpgsql volatile as $$
declare
  v_now timestamptz := coalesce(p_now, clock_timestamp());
  v_hold public.llm_reservations;
  v_usage public.llm_usage;
  v_same boolean;
  v_reserved numeric;
  v_unknown numeric;
begin
  perform purser.check_bill(p_cost_usd, p_items);
  select r.* into v_hold from public.llm_reservations r where r.id = p_reservation_id for no key update;
  if not found then
    outcome := 'unknown_reservation';
    return;
  end if;
  hold_usd := v_hold.estimated_cost_usd;
  overage_usd := greatest(p_cost_usd - hold_usd, 0);
  if v_hold.status = 'APPLIED' then
    select u.* into v_usage from public.llm_usage u where u.reservation_id = p_reservation_id;
    v_same := v_usage.cost_usd = p_cost_usd and v_usage.items = jsonb_array_length(p_items) and not exists (
      select i.class, i.count, i.usd, i.per
      from jsonb_to_recordset(p_items) i (class text, count bigint, usd numeric, per integer)
      except
      select s.class, s.count, s.usd, s.per from public.llm_usage_items s where s.reservation_id = p_reservation_id
    );
    -- A report may correct what was assumed, or what evidence settled before any report came.
    if v_same or not (v_usage.assumed or (
      exists (select from public.llm_adjustments a where a.reservation_id = p_reservation_id and a.cost_before_usd is null)
      and not exists (select from public.llm_adjustments a
        where a.reservation_id = p_reservation_id and a.evidence = 'late report'))) then
      -- The cost before a correction: the report that was corrected, once more.
      outcome := case when v_same or exists (select from public.llm_adjustments a
        where a.reservation_id = p_reservation_id and a.cost_before_usd = p_cost_usd) then 'replayed' else 'conflict' end;
      return;
    end if;
    insert into public.llm_adjustments (reservation_id, evidence, tenant_id, cost_before_usd, cost_usd)
    values (p_reservation_id, 'late report', v_hold.tenant_id, v_usage.cost_usd, p_cost_usd);
    perform purser.write_usage(v_hold, p_cost_usd, p_items, p_served_model, p_service_tier, p_uncovered, false, v_now);
    perform purser.move_money(v_hold, 'adjust', 0, p_cost_usd - v_usage.cost_usd, 0, 0);
  else
    v_reserved := case when v_hold.status = 'RESERVED' then hold_usd else 0 end;
    v_unknown := case when v_hold.status = 'UNKNOWN' then hold_usd else 0 end;
    perform purser.write_usage(v_hold, p_cost_usd, p_items, p_served_model, p_service_tier, p_uncovered, false, v_now);
    update public.llm_reservations r
    set status = 'APPLIED', closed_at = v_now, request_id = coalesce(left(p_request_id, 200), r.request_id)
    where r.id = p_reservation_id;
    perform purser.move_money(v_hold, 'settle', -v_reserved, p_cost_usd, -v_unknown,
      (v_hold.status = 'RELEASED')::integer);
  end if;
  perform purser.raise_overage(v_hold, p_cost_usd);
  outcome := 'settled';
end
$$;

-- Settles, and returns when that is on disk. The commit of the settlement does not wait for the disk, so that it does not
-- keep the tenant's month locked meanwhile; the one after it does, and the log is written in order. What a crash loses
-- in between is an answer that nobody has got. Not to be called in a transaction.
create procedure purser.budget_settle_durably(
  p_reservation_id uuid, p_cost_usd numeric, p_items jsonb, p_served_model text, p_service_tier text,
  p_uncovered text[], p_request_id text, p_now timestamptz,
  inout outcome text, inout overage_usd numeric, inout hold_usd numeric
) language plpgsql as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  select s.outcome, s.overage_usd, s.hold_usd into outcome, overage_usd, hold_usd
  from purser.budget_settle(p_reservation_id, p_cost_usd, p_items, p_served_model, p_service_tier, p_uncovered,
    p_request_id, p_now) s;
  commit;
  -- A record of the log that belongs to no table.
  perform pg_logical_emit_message(true, 'purser', '');
end
$$;

-- Settles several bills of one tenant at once: the month is locked, written and committed once. For the common case only:
-- a hold that has not ended, counts in no scope, and covers its bill. It answers those that it has settled; of the others
-- it has changed nothing, and they are for budget_settle.
create function purser.budget_settle_many(p_tenant_id text, p_bills jsonb)
returns table (place integer, hold_usd numeric) language plpgsql volatile as $$
#variable_conflict use_column
declare
  v_now timestamptz := clock_timestamp();
  v_ids uuid[] := array(select distinct (b ->> 'reservation_id')::uuid from jsonb_array_elements(p_bills) b order by 1);
  v_at record;
  v_used_usd numeric;
  v_top_up_usd numeric;
  v_places integer[];
  v_holds_usd numeric[];
begin
  perform purser.check_bill((b ->> 'cost_usd')::numeric, b -> 'items') from jsonb_array_elements(p_bills) b;
  v_ids := array(
    select r.id from public.llm_reservations r
    where r.id = any (v_ids) and r.tenant_id = p_tenant_id and r.status = 'RESERVED' and not r.counts_apart
    order by r.id for no key update);
  -- The month of the first; where a month has turned, the others are settled one by one.
  select r.budget_id, r.period_start into v_at from public.llm_reservations r where r.id = v_ids[1];
  perform from public.llm_budget_periods p
  where p.budget_id = v_at.budget_id and p.period_start = v_at.period_start for no key update;
  if not found then
    return;
  end if;
  with bill as (
    select distinct on (r.id) e.place, r.id, r.estimated_cost_usd as hold_usd, (e.bill ->> 'cost_usd')::numeric as cost_usd,
      e.bill -> 'items' as items, left(e.bill ->> 'served_model', 200) as served_model,
      left(e.bill ->> 'service_tier', 200) as service_tier, left(e.bill ->> 'request_id', 200) as request_id,
      array(select jsonb_array_elements_text(e.bill -> 'uncovered')) as uncovered,
      coalesce((e.bill ->> 'now')::timestamptz, v_now) as at
    from jsonb_array_elements(p_bills) with ordinality e (bill, place)
    join public.llm_reservations r on r.id = (e.bill ->> 'reservation_id')::uuid
    where r.id = any (v_ids) and r.budget_id = v_at.budget_id and r.period_start = v_at.period_start
      -- Read after the month is locked: a new scope pins under the same lock.
      and not exists (select from public.llm_pins n where n.reservation_id = r.id)
    order by r.id, e.place
  ), settled as materialized (
    select b.* from bill b where b.cost_usd <= b.hold_usd
  ), used as (
    insert into public.llm_usage (reservation_id, tenant_id, input_tokens, output_tokens, cached_tokens,
      reasoning_tokens, cost_usd, overage_usd, items, served_model, service_tier, uncovered, assumed, at)
    select b.id, p_tenant_id, i.input, i.output, i.cached, i.reasoning, b.cost_usd, 0, i.items, b.served_model,
      b.service_tier, b.uncovered, false, b.at
    from settled b cross join lateral (
      select coalesce(sum(i.count) filter (where purser.usage_total(i.class) = 'input'), 0) as input,
        coalesce(sum(i.count) filter (where purser.usage_total(i.class) = 'output'), 0) as output,
        coalesce(sum(i.count) filter (where i.class like 'cache\_read%'), 0) as cached,
        coalesce(sum(i.count) filter (where i.class = 'reasoning'), 0) as reasoning, count(*) as items
      from jsonb_to_recordset(b.items) i (class text, count bigint)) i
  ), items as (
    insert into public.llm_usage_items (reservation_id, class, tenant_id, count, usd, per, amount_usd)
    select b.id, i.class, p_tenant_id, i.count, i.usd, i.per,
      i.count * coalesce(i.usd, 0) * case i.per when 1000000 then 0.000001 when 1000 then 0.001 else 1 end
    from settled b cross join lateral jsonb_to_recordset(b.items) i (class text, count bigint, usd numeric, per integer)
  ), closed as (
    update public.llm_reservations r
    set status = 'APPLIED', closed_at = b.at, request_id = coalesce(b.request_id, r.request_id)
    from settled b where r.id = b.id
  ), moved as (
    insert into public.llm_ledger (tenant_id, budget_id, period_start, reservation_id, event,
      reserved_delta_usd, spent_delta_usd, unknown_delta_usd, available_delta_usd, counts_apart)
    select p_tenant_id, v_at.budget_id, v_at.period_start, b.id, 'settle', -b.hold_usd, b.cost_usd, 0,
      b.hold_usd - b.cost_usd, false
    from settled b
  ), total as (
    select count(*) as holds, sum(b.hold_usd) as hold_usd, sum(b.cost_usd) as cost_usd,
      array_agg(b.place::integer) as places, array_agg(b.hold_usd) as holds_usd
    from settled b
  ), month as (
    update public.llm_budget_periods p
    set reserved_usd = p.reserved_usd - t.hold_usd, spent_usd = p.spent_usd + t.cost_usd, holds = p.holds - t.holds
    from total t
    where p.budget_id = v_at.budget_id and p.period_start = v_at.period_start and t.holds > 0
    returning p.spent_usd + p.unknown_usd as used_usd, p.top_up_usd
  )
  select m.used_usd, m.top_up_usd, t.places, t.holds_usd into v_used_usd, v_top_up_usd, v_places, v_holds_usd
  from month m, total t;
  -- As in move_money.
  if v_used_usd * 2 >= v_top_up_usd
      + (select b.monthly_limit_usd from public.llm_budgets b where b.id = v_at.budget_id) then
    perform purser.raise_alerts(v_at.budget_id, v_at.period_start, null);
  end if;
  return query select s.place, s.hold_usd from unnest(v_places, v_holds_usd) s (place, hold_usd);
end
$$;

-- As budget_settle_durably. answers: [{place, hold_usd}], money as text; null: none.
create procedure purser.budget_settle_many_durably(p_tenant_id text, p_bills jsonb, inout answers jsonb)
language plpgsql as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  answers := (select jsonb_agg(jsonb_build_object('place', s.place, 'hold_usd', s.hold_usd::text))
    from purser.budget_settle_many(p_tenant_id, p_bills) s);
  commit;
  perform pg_logical_emit_message(true, 'purser', '');
end
$$;

-- Ends one reservation as budget_settle_durably settles it. closed: it was still RESERVED.
create procedure purser.budget_close_durably(
  p_id uuid, p_to text, p_now timestamptz, p_request_id text, p_received_output_tokens bigint, inout closed boolean
) language plpgsql as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  perform from purser.budget_close(array[p_id], p_to, p_now, p_request_id, p_received_output_tokens);
  closed := found;
  commit;
  perform pg_logical_emit_message(true, 'purser', '');
end
$$;

-- Ends an unknown reservation at the cost that evidence shows, or corrects the cost of a settled one. Once per evidence:
-- the figures of the first call stay. p_items null: one item for the whole cost.
-- outcome: settled; adjusted; unchanged (the cost is what it was); repeated; conflict (the evidence had another cost);
-- running (the hold has not ended); unknown_reservation.
create or replace function purser.budget_resolve(
  p_reservation_id uuid, p_evidence text, p_cost_usd numeric, p_items jsonb, p_reason text, p_by text, p_now timestamptz,
  out outcome text, out cost_before_usd numeric, out tenant_id text
) language plpgsql volatile as $$
declare
  v_now timestamptz := coalesce(p_now, clock_timestamp());
  v_items jsonb := coalesce(p_items, case when p_cost_usd = 0 then '[]' else
    jsonb_build_array(jsonb_build_object('class', 'evidence', 'count', 1, 'usd', p_cost_usd, 'per', 1)) end);
  v_hold public.llm_reservations;
  v_usage public.llm_usage;
  v_known numeric;
begin
  perform purser.check_bill(p_cost_usd, v_items);
  select r.* into v_hold from public.llm_reservations r where r.id = p_reservation_id for no key update;
  if not found then
    outcome := 'unknown_reservation';
    return;
  end if;
  tenant_id := v_hold.tenant_id;
  select a.cost_usd into v_known from public.llm_adjustments a
  where a.reservation_id = p_reservation_id and a.evidence = p_evidence;
  if found then
    outcome := case when v_known = p_cost_usd then 'repeated' else 'conflict' end;
    return;
  end if;
  if v_hold.status = 'RESERVED' then
    outcome := 'running';
    return;
  end if;
  select u.* into v_usage from public.llm_usage u where u.reservation_id = p_reservation_id;
  cost_before_usd := v_usage.cost_usd;
  insert into public.llm_adjustments (reservation_id, evidence, tenant_id, cost_before_usd, cost_usd, reason, set_by)
  values (p_reservation_id, p_evidence, v_hold.tenant_id, v_usage.cost_usd, p_cost_usd, p_reason, p_by);
  if v_usage.cost_usd = p_cost_usd and p_items is null then
    update public.llm_usage u set assumed = false where u.reservation_id = p_reservation_id and u.assumed;
    outcome := 'unchanged';
    return;
  end if;
  perform purser.write_usage(v_hold, p_cost_usd, v_items, null, null, '{}', false, v_now);
  if v_hold.status = 'APPLIED' then
    perform purser.move_money(v_hold, 'adjust', 0, p_cost_usd - v_usage.cost_usd, 0, 0);
    outcome := 'adjusted';
  else
    update public.llm_reservations r set status = 'APPLIED', closed_at = v_now where r.id = p_reservation_id;
    perform purser.move_money(v_hold, 'settle', 0, p_cost_usd,
      case when v_hold.status = 'UNKNOWN' then -v_hold.estimated_cost_usd else 0 end,
      (v_hold.status = 'RELEASED')::integer);
    outcome := 'settled';
  end if;
  -- A new price is the operator's own act, which names what it changes.
  if p_evidence not like 'price %' then
    perform purser.raise_overage(v_hold, p_cost_usd);
  end if;
end
$$;

-- As before, and a job that a scope refused wakes only where that scope has room as well: by priority, as many as it has
-- room for, those that are awake included. One that met a stop wakes when no stop names its call any more; one that met
-- circuit breakers when one of them is closed, or as the probe of one whose pause has ended: of the jobs that would wake
-- without it one, by chance, since the calls of a job may always fail, and another one after a minute without a change.
-- A breaker whose pause ended long ago keeps no job: no call goes through it any more, or a call would have probed it.
create or replace function purser.wake_parked(p_job_ids bigint[], p_offset interval) returns integer
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set lock_timeout = '2s' set jit = off
as $$
declare
  v_woken integer;
  v_now timestamptz := now() + p_offset;
  v_open text[];
  v_due text[] := '{}';
begin
  if not exists (select from purser.parked) then
    return 0;
  end if;
  v_open := array(select b.kind || ':' || b.key from public.llm_breakers b
    where b.state <> 'closed' and b.until > v_now - interval '10 minutes');
  if v_open <> '{}' then
    v_due := array(select b.kind || ':' || b.key from public.llm_breakers b
      where b.state <> 'closed' and b.until <= v_now
        and (b.woken_at is null or b.woken_at <= v_now - interval '1 minute')
      for no key update skip locked);
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
        select s.job_id, s.needed_usd from purser.waiting s where s.tenant_id = t.tenant_id and s.needed_usd is not null
        union all
        select s.job_id, s.needed_usd from purser.later s where s.tenant_id = t.tenant_id and s.needed_usd is not null
        union all
        select s.job_id, s.needed_usd from purser.in_flight s where s.tenant_id = t.tenant_id and s.needed_usd is not null
      ) n
      left join lateral (select f.counts_apart from public.llm_refusals f
        where f.job_id = n.job_id order by f.id desc limit 1) f on true
      where f.counts_apart is not true) a
  ), parked as materialized (
    select p.job_id, p.is_due, t.hard_limit and not coalesce(r.counts_apart, false) as hard_limit, t.available_usd,
      -- Calls that count apart need nothing of the month.
      t.awake_usd + p.needed_so_far - coalesce(sum(p.needed_usd) filter (where r.counts_apart)
        over (partition by t.tenant_id order by p.place), 0) as needed_so_far,
      p.needed_usd, p.place, r.scope_id, r.value,
      coalesce(r.stopped and purser.is_stopped(t.tenant_id, r.provider, r.model), false) as stopped,
      r.breakers, coalesce(r.breakers <@ v_open, false) as held
    from tenant t cross join lateral (
      select s.job_id, s.scheduled_for <= now() + p_offset as is_due, s.needed_usd,
        sum(s.needed_usd) over (order by s.priority desc, s.scheduled_for, s.job_id) as needed_so_far,
        row_number() over (order by s.priority desc, s.scheduled_for, s.job_id) as place
      from purser.parked s where s.tenant_id = t.tenant_id offset 0) p
    left join lateral (
      select f.scope_id, f.value, f.stopped, f.provider, f.model, f.breakers, f.counts_apart
      from (
        select f.* from public.llm_refusals f where f.job_id = p.job_id order by f.id desc limit 1) f
      union all
      -- A call that was stopped after its reserve has no refusal.
      select null, null, null, null, null, null, c.counts_apart
      from (
        select c.counts_apart from public.llm_reservations c where c.job_id = p.job_id
        order by c.created_at desc limit 1) c
      where not exists (select from public.llm_refusals f where f.job_id = p.job_id)) r on true
  ), scope as materialized (
    select p.scope_id, p.value, s.hard_limit,
      s.limit_usd + coalesce(c.top_up_usd, 0) - coalesce(c.spent_usd + c.unknown_usd + c.reserved_usd, 0)
        - coalesce(a.needed_usd, 0) as room_usd,
      s.limit_calls - coalesce(c.calls, 0) - coalesce(a.jobs, 0) as room_calls
    from (select distinct p.scope_id, p.value from parked p where p.scope_id is not null) p
    join public.llm_scopes s on s.id = p.scope_id
    left join public.llm_scope_periods c on c.scope_id = p.scope_id and c.value = p.value
      and c.starts_at <= now() and c.ends_at > now()
    cross join lateral (
      select sum(n.needed_usd) as needed_usd, count(*) as jobs from (
        select w.job_id, w.needed_usd from purser.waiting w where w.tenant_id = s.tenant_id and w.needed_usd is not null
        union all
        select w.job_id, w.needed_usd from purser.later w where w.tenant_id = s.tenant_id and w.needed_usd is not null
        union all
        select w.job_id, w.needed_usd from purser.in_flight w where w.tenant_id = s.tenant_id and w.needed_usd is not null
      ) n
      cross join lateral (select f.scope_id, f.value from public.llm_refusals f
        where f.job_id = n.job_id order by f.id desc limit 1) f
      where f.scope_id = p.scope_id and f.value = p.value) a
    union all
    select f.id, '*', f.hard_limit, purser.fleet_wake_room(f.id), null
    from (select distinct p.scope_id from parked p where p.scope_id < 0) p
    join public.llm_fleet_scopes f on f.id = p.scope_id and f.removed_at is null
  ), fits as materialized (
    select p.job_id, p.is_due or (
      not p.stopped
      and (p.hard_limit is false or p.needed_so_far <= p.available_usd)
      and (s.scope_id is null or not s.hard_limit or (
        coalesce(p.needed_in_scope <= s.room_usd, true) and coalesce(p.jobs_in_scope <= s.room_calls, true)))) as fits,
      p.is_due, p.held, p.breakers
    from (
      select p.*, sum(p.needed_usd) over in_scope as needed_in_scope, count(*) over in_scope as jobs_in_scope
      from parked p window in_scope as (partition by p.scope_id, p.value order by p.place, p.job_id)
    ) p
    left join scope s on s.scope_id = p.scope_id and s.value = p.value
  ), probe as materialized (
    select b.name, (select p.job_id from fits p
      where p.fits and p.held and p.breakers @> array[b.name] and (p_job_ids is null or p.job_id = any (p_job_ids))
      order by random() limit 1) as job_id
    from unnest(v_due) b (name)
  ), unlocked as materialized (
    select s.job_id, p.is_due from purser.parked s join fits p on p.job_id = s.job_id
    where p.fits and (p_job_ids is null or s.job_id = any(p_job_ids))
      and (p.is_due or not p.held or (p.job_id in (select b.job_id from probe b)) is true)
    for update of s skip locked
  ), sent as (
    update public.llm_breakers b set woken_at = v_now
    where b.kind || ':' || b.key in (select p.name from probe p join unlocked u on u.job_id = p.job_id)
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

-- Adds a scope or changes its limits, zone and length. outcome: added, changed, unchanged or unknown_tenant.
create or replace function purser.set_scope(
  p_tenant_id text, p_kind text, p_subject text, p_period text, p_time_zone text, p_limit_usd numeric,
  p_limit_calls bigint, p_hard boolean, p_by text, p_now timestamptz, out outcome text, out scope_id bigint
) language plpgsql volatile as $$
declare
  v_now timestamptz := coalesce(p_now, clock_timestamp());
  v_before public.llm_scopes;
begin
  if p_limit_usd is not null then
    perform purser.check_amount(p_limit_usd);
  end if;
  if not exists (select from pg_timezone_names z where z.name = p_time_zone) then
    raise exception 'invalid_scope: % is not an IANA time zone; write it like Europe/Berlin', quote_literal(p_time_zone)
      using errcode = 'PU104';
  end if;
  perform purser.lock_months(p_tenant_id, v_now);
  -- The running period is that of a moment at which no reserve of the tenant runs.
  v_now := coalesce(p_now, clock_timestamp());
  if not exists (select from public.tenants t where t.id = p_tenant_id) then
    outcome := 'unknown_tenant';
    return;
  end if;
  select s.* into v_before from public.llm_scopes s
  where s.tenant_id = p_tenant_id and s.kind = p_kind and s.subject = p_subject and s.period = p_period
  for no key update;
  if not found then
    insert into public.llm_scopes (tenant_id, kind, subject, period, time_zone, limit_usd, limit_calls, hard_limit, set_by)
    values (p_tenant_id, p_kind, p_subject, p_period, p_time_zone, p_limit_usd, p_limit_calls, p_hard, p_by)
    returning id into scope_id;
    perform purser.fill_scope(scope_id, v_now);
    outcome := 'added';
  else
    scope_id := v_before.id;
    if (v_before.time_zone, v_before.limit_usd, v_before.limit_calls, v_before.hard_limit)
      is not distinct from (p_time_zone, p_limit_usd, p_limit_calls, p_hard) then
      outcome := 'unchanged';
      return;
    end if;
    update public.llm_scopes s
    set time_zone = p_time_zone, limit_usd = p_limit_usd, limit_calls = p_limit_calls, hard_limit = p_hard,
      set_by = p_by, updated_at = now(),
      limit_version = s.limit_version + (s.limit_usd is distinct from p_limit_usd)::integer
    where s.id = v_before.id;
    outcome := 'changed';
  end if;
  perform purser.raise_alerts(null, null, array(
    select p.id from public.llm_scope_periods p where p.scope_id = set_scope.scope_id and p.ends_at > v_now));
end
$$;

-- The rights on a procedure are granted as those on a function.
do $$
begin
  execute replace(pg_get_functiondef('purser.put_policies(boolean)'::regprocedure), ' on function %s ', ' on routine %s ');
end
$$;
