-- The functions as 0014 made them.
-- Locks the counters of reservations, months by key and then periods of scopes by id. The caller has locked the
-- reservations. One row at a time, by its key: no plan can lock them in another order, or read more than them.
create or replace function purser.lock_counters(p_ids uuid[]) returns void language plpgsql volatile as $$
declare
  v_month record;
  v_id bigint;
begin
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

-- One movement of a reservation: its row in the ledger, and the counters of its month and of its scopes, whose locks
-- the caller holds. The counters change by the same differences; calls is -1 for a hold that is given back.
create or replace function purser.move_money(
  p_hold public.llm_reservations, p_event text, p_reserved numeric, p_spent numeric, p_unknown numeric, p_calls integer
) returns void language plpgsql volatile as $$
declare
  v_scope_period_ids bigint[];
  v_slot bigint := floor(extract(epoch from p_hold.created_at) / 6);
begin
  insert into public.llm_ledger (tenant_id, budget_id, period_start, reservation_id, event,
    reserved_delta_usd, spent_delta_usd, unknown_delta_usd, available_delta_usd)
  values (p_hold.tenant_id, p_hold.budget_id, p_hold.period_start, p_hold.id, p_event,
    p_reserved, p_spent, p_unknown, -(p_reserved + p_spent + p_unknown));
  update public.llm_budget_periods p
  set reserved_usd = p.reserved_usd + p_reserved, spent_usd = p.spent_usd + p_spent,
    unknown_usd = p.unknown_usd + p_unknown,
    -- p_hold is the reservation as it was before.
    holds = p.holds + case when p_event = 'reserve' then 1 when p_hold.status = 'RESERVED' then -1 else 0 end,
    slot_calls = case when p_event = 'reserve' then purser.count_call(p.call_slot, p.slot_calls, v_slot) else p.slot_calls end,
    call_slot = case when p_event = 'reserve' then greatest(p.call_slot, v_slot) else p.call_slot end
  where p.budget_id = p_hold.budget_id and p.period_start = p_hold.period_start;
  select array_agg(n.scope_period_id) into v_scope_period_ids from public.llm_pins n where n.reservation_id = p_hold.id;
  if v_scope_period_ids is not null then
    update public.llm_scope_periods p
    set reserved_usd = p.reserved_usd + p_reserved, spent_usd = p.spent_usd + p_spent,
      unknown_usd = p.unknown_usd + p_unknown, calls = p.calls + p_calls
    where p.id = any (v_scope_period_ids);
  end if;
  if p_spent + p_unknown > 0 then
    perform purser.raise_alerts(p_hold.budget_id, p_hold.period_start, v_scope_period_ids);
  end if;
end
$$;

-- The scopes of all rungs; null where the tenant has none.
create or replace function purser.scopes_of_rungs(
  p_tenant_id text, p_job_id bigint, p_job_type text, p_provider_key text, p_end_user text, p_rungs jsonb
) returns purser.rung_scope[] language plpgsql volatile as $$
begin
  if not exists (select from public.llm_scopes s where s.tenant_id = p_tenant_id) then
    return null;
  end if;
  return array(
    select row(r.number, c.scope_id, c.value, c.binds)::purser.rung_scope
    from jsonb_array_elements(p_rungs) with ordinality r (rung, number)
    cross join lateral purser.scopes_of_call(p_tenant_id, p_job_id, p_job_type, r.rung ->> 'model', p_provider_key,
      p_end_user) c);
end
$$;

-- Chooses the first rung that every hard limit has room for.
create or replace function purser.choose_rung(
  p_rungs jsonb, p_budget_id uuid, p_period_start date, p_scopes purser.rung_scope[], p_at timestamptz
) returns purser.budget_choice language plpgsql volatile as $$
declare
  v_choice purser.budget_choice;
  v_hard boolean;
begin
  if p_scopes is null and jsonb_array_length(p_rungs) = 1 and not p_rungs -> 0 ? 'min_output_tokens' then
    -- The common case: one request, and no limit but the month's.
    select b.monthly_limit_usd + coalesce(p.top_up_usd, 0), b.hard_limit, coalesce(p.spent_usd + p.unknown_usd, 0),
      coalesce(p.reserved_usd, 0)
    into v_choice.limit_usd, v_hard, v_choice.used_usd, v_choice.reserved_usd
    from public.llm_budgets b
    left join public.llm_budget_periods p on p.budget_id = b.id and p.period_start = p_period_start
    where b.id = p_budget_id;
    v_choice.hold_usd := (p_rungs -> 0 ->> 'hold_usd')::numeric;
    v_choice.over_limit := v_choice.limit_usd = 0
      or v_choice.used_usd + v_choice.reserved_usd + v_choice.hold_usd > v_choice.limit_usd;
    if v_hard and v_choice.over_limit then
      v_choice.needed_usd := v_choice.hold_usd;
    else
      v_choice.rung := 1;
      v_choice.max_output_tokens := (p_rungs -> 0 ->> 'max_output_tokens')::bigint;
    end if;
    return v_choice;
  end if;
  with rung as (
    select r.number::integer as number, (r.rung ->> 'hold_usd')::numeric as hold_usd,
      (r.rung ->> 'max_output_tokens')::bigint as cap, (r.rung ->> 'min_output_tokens')::bigint as min_cap,
      (r.rung ->> 'fixed_usd')::numeric as fixed_usd, (r.rung ->> 'output_usd_per_mtok')::numeric as rate
    from jsonb_array_elements(p_rungs) with ordinality r (rung, number)
    where not coalesce((r.rung -> 'stopped')::boolean, false)
  ), priced as (
    select r.*, coalesce(ceil((r.fixed_usd + r.min_cap * r.rate / 1000000) * 1e9) / 1e9, r.hold_usd) as least_usd
    from rung r
  ), limits as (
    select r.number, null::bigint as scope_id, null::text as value, b.monthly_limit_usd + coalesce(p.top_up_usd, 0) as limit_usd,
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

drop function purser.budget_mark_sent_many(uuid[]);
drop function purser.budget_reserve_many(text, jsonb);

-- Takes a hold, or says why not. outcome: reserved; replayed (this key already holds the same request); conflict (this
-- key holds another); refused (a hard limit); stopped (by an operator); limited (by fair use: scope_kind says
-- calls_per_minute or calls_in_flight); stale_token; unknown_tenant. A refusal names the limit that bound: the tenant's
-- month, or a scope by its kind and value.
-- Separate statements in READ COMMITTED, each with its own snapshot: one statement could neither see the rows that it
-- has just inserted nor a limit that changed while it waited for a lock.
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
  v_digest text;
  v_job_type text;
  v_budget_id uuid;
  v_scopes purser.rung_scope[];
  v_scope record;
  v_rungs jsonb := p_rungs;
  v_choice purser.budget_choice;
begin
  perform purser.check_amount((r ->> 'hold_usd')::numeric) from jsonb_array_elements(p_rungs) r;
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'wrong_isolation: reserve needs READ COMMITTED' using errcode = 'PU102';
  end if;
  -- Of the request as it was asked for: what was chosen of it depends on the limits, and prices change.
  select md5(jsonb_build_array(p_job_id, p_attempt, p_provider_key, p_end_user, jsonb_agg(r - 'price'))::text)
  into v_digest from jsonb_array_elements(p_rungs) r;

  select f.job_type into v_job_type from purser.in_flight f
  where f.job_id = p_job_id and f.token = p_token and f.tenant_id = p_tenant_id and f.attempt = p_attempt;
  if not found then
    outcome := 'stale_token';
    return;
  end if;

  select b.id into v_budget_id from public.llm_budgets b where b.tenant_id = p_tenant_id;
  if not found then
    insert into public.llm_budgets (tenant_id, monthly_limit_usd)
    select t.id, pl.monthly_limit_usd from public.tenants t join public.plans pl on pl.plan = t.plan
    where t.id = p_tenant_id
    on conflict (tenant_id) do nothing;
    select b.id into v_budget_id from public.llm_budgets b where b.tenant_id = p_tenant_id;
    if not found then
      outcome := 'unknown_tenant';
      return;
    end if;
  end if;

  -- The same key again, after an answer that was lost: ahead of the limits, which this hold is part of.
  select f.* into outcome, reservation_id, status, sent_at, expires_at, hold_usd, max_output_tokens, rung
  from purser.find_reservation(p_tenant_id, p_key, v_digest, p_rungs) f;
  if outcome is not null then
    return;
  end if;

  perform from public.llm_budget_periods p where p.budget_id = v_budget_id and p.period_start = v_month;
  if not found then
    insert into public.llm_budget_periods (budget_id, period_start, tenant_id)
    values (v_budget_id, v_month, p_tenant_id)
    on conflict (budget_id, period_start) do nothing;
  end if;
  if exists (select from public.llm_stops) then
    select jsonb_agg(o.rung || jsonb_build_object('stopped',
      purser.is_stopped(p_tenant_id, o.rung ->> 'provider', o.rung ->> 'model')) order by o.number)
    into v_rungs from jsonb_array_elements(p_rungs) with ordinality o (rung, number);
    if not v_rungs @? '$[*] ? (@.stopped == false)' then
      outcome := 'stopped';
      needed_usd := (select min((r ->> 'hold_usd')::numeric) from jsonb_array_elements(p_rungs) r);
      insert into public.llm_refusals (tenant_id, job_id, job_type, provider, model, stopped, period_start, needed_usd)
      values (p_tenant_id, p_job_id, v_job_type, p_rungs -> 0 ->> 'provider', p_rungs -> 0 ->> 'model', true, v_month,
        needed_usd);
      perform set_config('synchronous_commit', 'off', true);
      return;
    end if;
  end if;
  v_scopes := purser.scopes_of_rungs(p_tenant_id, p_job_id, v_job_type, p_provider_key, p_end_user, p_rungs);
  select 'limited', f.kind, f.most, f.used, f.free_at into outcome, scope_kind, limit_calls, used_calls, resets_at
  from purser.fair_use_of(p_tenant_id, v_budget_id, v_month, v_now) f where f.kind is not null;
  if found then
    return;
  end if;
  -- A refusal that is already certain takes no lock. The sums may contain the hold of a twin with this key.
  v_choice := purser.choose_rung(v_rungs, v_budget_id, v_month, v_scopes, v_now);
  if v_choice.rung is not null then
    -- Whoever ends the attempt deletes this row: it was first, or it waits until the hold is committed.
    perform from purser.in_flight f where f.job_id = p_job_id and f.token = p_token for key share;
    if not found then
      outcome := 'stale_token';
      return;
    end if;
    perform from public.llm_budget_periods p
    where p.budget_id = v_budget_id and p.period_start = v_month for no key update;
    select 'limited', f.kind, f.most, f.used, f.free_at into outcome, scope_kind, limit_calls, used_calls, resets_at
    from purser.fair_use_of(p_tenant_id, v_budget_id, v_month, v_now) f where f.kind is not null;
    if found then
      return;
    end if;
    -- Again under the lock, where no scope is added or removed.
    v_scopes := purser.scopes_of_rungs(p_tenant_id, p_job_id, v_job_type, p_provider_key, p_end_user, p_rungs);
    if v_scopes is not null then
      for v_scope in
        select o.id from (
          select distinct purser.open_scope_period(n.scope_id, n.value, v_now) as id
          from (select distinct u.scope_id, u.value from unnest(v_scopes) u) n) o
        order by o.id
      loop
        perform from public.llm_scope_periods p where p.id = v_scope.id for no key update;
      end loop;
    end if;
    v_choice := purser.choose_rung(v_rungs, v_budget_id, v_month, v_scopes, v_now);
  end if;

  if v_choice.rung is not null then
    insert into public.llm_reservations (budget_id, period_start, tenant_id, job_id, attempt, job_type,
      estimated_cost_usd, created_at, expires_at, idempotency_key, provider, model, price, provider_key, end_user,
      request_digest, max_output_tokens)
    select v_budget_id, v_month, p_tenant_id, p_job_id, p_attempt, v_job_type,
      v_choice.hold_usd, v_now, v_now + p_ttl, p_key, r ->> 'provider', r ->> 'model', r -> 'price', p_provider_key,
      p_end_user, v_digest, v_choice.max_output_tokens
    from (select p_rungs -> (v_choice.rung - 1) as r) chosen
    on conflict (tenant_id, idempotency_key) do nothing
    returning id, llm_reservations.status, llm_reservations.expires_at
    into reservation_id, status, expires_at;
  end if;
  if reservation_id is null then
    -- Refused, unless a twin with this key came first while this one waited.
    select f.* into outcome, reservation_id, status, sent_at, expires_at, hold_usd, max_output_tokens, rung
    from purser.find_reservation(p_tenant_id, p_key, v_digest, p_rungs) f;
    if outcome is null then
      outcome := 'refused';
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
      end if;
      insert into public.llm_refusals (tenant_id, job_id, job_type, provider, model, scope_id, value, period_start,
        needed_usd)
      values (p_tenant_id, p_job_id, v_job_type, p_rungs -> 0 ->> 'provider', p_rungs -> 0 ->> 'model',
        v_choice.scope_id, v_choice.value, v_month, v_choice.needed_usd);
      -- Nothing depends on the count of refusals after a crash.
      perform set_config('synchronous_commit', 'off', true);
    end if;
    return;
  end if;

  -- The scopes of the rung that was chosen, those that do not bind it included.
  if v_scopes is not null then
    insert into public.llm_pins (reservation_id, scope_period_id, tenant_id)
    select budget_reserve.reservation_id, purser.open_scope_period(n.scope_id, n.value, v_now), p_tenant_id
    from unnest(v_scopes) n where n.rung = v_choice.rung;
  end if;
  perform purser.move_money(r, 'reserve', v_choice.hold_usd, 0, 0, 1)
  from public.llm_reservations r where r.id = reservation_id;
  rung := v_choice.rung;
  hold_usd := v_choice.hold_usd;
  max_output_tokens := v_choice.max_output_tokens;
  over_limit := v_choice.over_limit;
  outcome := 'reserved';
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
    if v_same or not v_usage.assumed then
      outcome := case when v_same then 'replayed' else 'conflict' end;
      return;
    end if;
    insert into public.llm_adjustments (reservation_id, evidence, tenant_id, cost_before_usd, cost_usd)
    values (p_reservation_id, 'late report', v_hold.tenant_id, v_usage.cost_usd, p_cost_usd);
    perform purser.lock_counters(array[p_reservation_id]);
    perform purser.write_usage(v_hold, p_cost_usd, p_items, p_served_model, p_service_tier, p_uncovered, false, v_now);
    perform purser.move_money(v_hold, 'adjust', 0, p_cost_usd - v_usage.cost_usd, 0, 0);
  else
    v_reserved := case when v_hold.status = 'RESERVED' then hold_usd else 0 end;
    v_unknown := case when v_hold.status = 'UNKNOWN' then hold_usd else 0 end;
    perform purser.write_usage(v_hold, p_cost_usd, p_items, p_served_model, p_service_tier, p_uncovered, false, v_now);
    update public.llm_reservations r
    set status = 'APPLIED', closed_at = v_now, request_id = coalesce(left(p_request_id, 200), r.request_id)
    where r.id = p_reservation_id;
    perform purser.lock_counters(array[p_reservation_id]);
    perform purser.move_money(v_hold, 'settle', -v_reserved, p_cost_usd, -v_unknown,
      (v_hold.status = 'RELEASED')::integer);
  end if;
  if overage_usd > 0 then
    insert into public.llm_alerts (tenant_id, kind, budget_id, period_start, reservation_id, limit_version, limit_usd,
      used_usd)
    values (v_hold.tenant_id, 'overage', v_hold.budget_id, v_hold.period_start, p_reservation_id, 0, hold_usd, p_cost_usd)
    on conflict do nothing;
  end if;
  outcome := 'settled';
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
  perform purser.lock_counters(array[p_reservation_id]);
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
end
$$;

-- As before, and a job that a scope refused wakes only where that scope has room as well: by priority, as many as it has
-- room for, those that are awake included. One that met a stop wakes when no stop names its call any more.
create or replace function purser.wake_parked(p_job_ids bigint[], p_offset interval) returns integer
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
    select p.job_id, p.is_due, t.hard_limit, t.available_usd, t.awake_usd + p.needed_so_far as needed_so_far,
      p.needed_usd, p.place, r.scope_id, r.value,
      coalesce(r.stopped and purser.is_stopped(t.tenant_id, r.provider, r.model), false) as stopped
    from tenant t cross join lateral (
      select s.job_id, s.scheduled_for <= now() + p_offset as is_due, s.needed_usd,
        sum(s.needed_usd) over (order by s.priority desc, s.scheduled_for, s.job_id) as needed_so_far,
        row_number() over (order by s.priority desc, s.scheduled_for, s.job_id) as place
      from purser.parked s where s.tenant_id = t.tenant_id offset 0) p
    left join lateral (select f.scope_id, f.value, f.stopped, f.provider, f.model from public.llm_refusals f
      where f.job_id = p.job_id order by f.id desc limit 1) r on true
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
  ), fits as materialized (
    select p.job_id, p.is_due or (
      not p.stopped
      and (p.hard_limit is false or p.needed_so_far <= p.available_usd)
      and (s.scope_id is null or not s.hard_limit or (
        coalesce(p.needed_in_scope <= s.room_usd, true) and coalesce(p.jobs_in_scope <= s.room_calls, true)))) as fits,
      p.is_due
    from (
      select p.*, sum(p.needed_usd) over in_scope as needed_in_scope, count(*) over in_scope as jobs_in_scope
      from parked p window in_scope as (partition by p.scope_id, p.value order by p.place)
    ) p
    left join scope s on s.scope_id = p.scope_id and s.value = p.value
  ), unlocked as materialized (
    select s.job_id, p.is_due from purser.parked s join fits p on p.job_id = s.job_id
    where p.fits and (p_job_ids is null or s.job_id = any(p_job_ids))
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
-- The figures of llm_usage and llm_usage_items from the items of a bill.
create or replace function purser.write_usage(
  p_hold public.llm_reservations, p_cost_usd numeric, p_items jsonb, p_served_model text, p_service_tier text,
  p_uncovered text[], p_assumed boolean, p_at timestamptz
) returns void language plpgsql volatile as $$
begin
  delete from public.llm_usage_items i where i.reservation_id = p_hold.id;
  insert into public.llm_usage as u (reservation_id, tenant_id, input_tokens, output_tokens, cached_tokens,
    reasoning_tokens, cost_usd, overage_usd, items, served_model, service_tier, uncovered, assumed, at)
  select p_hold.id, p_hold.tenant_id,
    coalesce(sum(i.count) filter (where purser.usage_total(i.class) = 'input'), 0),
    coalesce(sum(i.count) filter (where purser.usage_total(i.class) = 'output'), 0),
    coalesce(sum(i.count) filter (where i.class like 'cache\_read%'), 0),
    coalesce(sum(i.count) filter (where i.class = 'reasoning'), 0),
    p_cost_usd, greatest(p_cost_usd - p_hold.estimated_cost_usd, 0), count(*), left(p_served_model, 200),
    left(p_service_tier, 200), p_uncovered, p_assumed, p_at
  from jsonb_to_recordset(p_items) i (class text, count bigint, usd numeric, per integer)
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

drop function purser.calls_of_minute(bigint, integer[], bigint);
drop function purser.raise_overage(public.llm_reservations, numeric);
drop procedure purser.budget_settle_many_durably(text, jsonb, jsonb);
drop function purser.budget_settle_many(text, jsonb);
drop procedure purser.budget_settle_durably(uuid, numeric, jsonb, text, text, text[], text, timestamptz, text, numeric, numeric);
drop procedure purser.budget_close_durably(uuid, text, timestamptz, text, bigint, boolean);
do $$
begin
  execute replace(pg_get_functiondef('purser.put_policies(boolean)'::regprocedure), ' on routine %s ', ' on function %s ');
end
$$;
drop function purser.choose_rung(jsonb, uuid, date, purser.rung_scope[], timestamptz, boolean);
