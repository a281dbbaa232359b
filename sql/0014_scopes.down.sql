drop view public.llm_scope_status;
drop view public.llm_budget_status;
create view public.llm_budget_status with (security_invoker = true) as
select
  t.id as tenant_id,
  b.id as budget_id,
  coalesce(b.monthly_limit_usd, pl.monthly_limit_usd) as monthly_limit_usd,
  coalesce(b.hard_limit, true) as hard_limit,
  coalesce(b.limit_source, 'plan') as limit_source,
  m.period_start,
  coalesce(p.spent_usd, 0) + coalesce(p.unknown_usd, 0) as current_month_usage_usd,
  coalesce(p.spent_usd, 0) as spent_usd,
  coalesce(p.unknown_usd, 0) as unknown_usd,
  coalesce(p.reserved_usd, 0) as reserved_usd,
  coalesce(b.monthly_limit_usd, pl.monthly_limit_usd)
    - coalesce(p.spent_usd + p.unknown_usd + p.reserved_usd, 0) as available_usd,
  (m.period_start + interval '1 month') at time zone 'UTC' as resets_at
from public.tenants t
join public.plans pl on pl.plan = t.plan
cross join (select date_trunc('month', now() at time zone 'UTC')::date as period_start) m
left join public.llm_budgets b on b.tenant_id = t.id
left join public.llm_budget_periods p on p.budget_id = b.id and p.period_start = m.period_start;

drop function purser.top_up(text, bigint, text, numeric, text, text, timestamptz);
drop function purser.budget_assume(interval, integer, timestamptz);
drop function purser.budget_resolve(uuid, text, numeric, jsonb, text, text, timestamptz);
drop function purser.budget_close(uuid[], text, timestamptz, text, bigint);
drop function purser.budget_settle(uuid, numeric, jsonb, text, text, text[], text, timestamptz);
drop function purser.check_bill(numeric, jsonb);
drop function purser.write_usage(
  public.llm_reservations, numeric, jsonb, text, text, text[], boolean, timestamptz);
drop function purser.budget_mark_sent(uuid, timestamptz);
drop function purser.budget_reserve(
  text, bigint, integer, uuid, text, interval, text, text, jsonb, timestamptz);
drop function purser.find_reservation(text, text, text, jsonb);
drop function purser.choose_rung(jsonb, uuid, date, purser.rung_scope[], timestamptz);
drop function purser.scopes_of_rungs(text, bigint, text, text, text, jsonb);
drop type purser.rung_scope;
drop type purser.budget_choice;
drop function purser.move_money(public.llm_reservations, text, numeric, numeric, numeric, integer);
drop function purser.lock_counters(uuid[]);
drop function purser.is_stopped(text, text, text);
drop function purser.count_call(bigint, integer[], bigint);
drop function purser.fair_use_of(text, uuid, date, timestamptz);
drop function purser.raise_alerts(uuid, date, bigint[]);
drop trigger count_limit_version on public.llm_budgets;
drop function purser.count_limit_version();
drop function purser.remove_scope(text, text, text, text);
drop function purser.set_scope(text, text, text, text, text, numeric, bigint, boolean, text, timestamptz);
drop function purser.lock_months(text, timestamptz);
drop function purser.fill_scope(bigint, timestamptz);
drop function purser.scopes_of_call(text, bigint, text, text, text, text);
drop function purser.open_scope_period(bigint, text, timestamptz);
drop function purser.local_period(text, text, timestamptz);
select purser.forget_table('public.llm_stops');
select purser.forget_table('public.llm_alerts');
select purser.forget_table('public.llm_adjustments');
select purser.forget_table('public.llm_top_ups');
select purser.forget_table('public.llm_refusals');
select purser.forget_table('public.llm_pins');
select purser.forget_table('public.llm_scope_periods');
select purser.forget_table('public.llm_scopes');
drop table public.llm_stops;
drop table public.llm_alerts;
drop table public.llm_adjustments;
drop table public.llm_top_ups;
drop table public.llm_refusals;
drop table public.llm_pins;
drop table public.llm_scope_periods;
drop table public.llm_scopes;
-- A correction of a cost has no event before this version. Its rows are kept as what they moved.
alter table public.llm_ledger disable trigger append_only;
update public.llm_ledger set event = 'settle' where event = 'adjust';
alter table public.llm_ledger enable trigger append_only;
alter table public.llm_ledger drop constraint llm_ledger_event_check;
alter table public.llm_ledger add constraint llm_ledger_event_check
  check (event in ('reserve', 'settle', 'release', 'unknown'));
drop index public.ix_llm_reservations_unknown;
drop index public.ix_llm_reservations_tenant_id;
alter table public.llm_usage drop column assumed;
alter table public.llm_reservations
  drop column job_type, drop column provider_key, drop column end_user, drop column request_digest,
  drop column max_output_tokens, drop column request_id, drop column received_output_tokens;
alter table public.llm_budget_periods
  drop column top_up_usd, drop column top_ups, drop column holds, drop column call_slot, drop column slot_calls;
alter table public.tenants drop column max_calls_per_minute, drop column max_calls_in_flight;
alter table public.plans drop column max_calls_per_minute, drop column max_calls_in_flight;
alter table public.llm_budgets drop column limit_version;

create function purser.budget_reserve(
  p_tenant_id text, p_job_id bigint, p_attempt integer, p_token uuid, p_key text, p_hold_usd numeric,
  p_ttl interval, p_provider text, p_model text, p_price jsonb, p_now timestamptz,
  out outcome text, out reservation_id uuid, out status text, out sent_at timestamptz,
  out expires_at timestamptz, out period_start date, out limit_usd numeric, out used_usd numeric,
  out reserved_usd numeric, out resets_at timestamptz, out over_limit boolean
) language plpgsql volatile as $$
declare
  v_now timestamptz := coalesce(p_now, clock_timestamp());
  v_budget_id uuid;
  v_hard boolean;
  v_same boolean;
begin
  perform purser.check_amount(p_hold_usd);
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'wrong_isolation: reserve needs READ COMMITTED' using errcode = 'PU102';
  end if;
  period_start := date_trunc('month', v_now at time zone 'UTC')::date;
  resets_at := (period_start + interval '1 month') at time zone 'UTC';

  perform from purser.in_flight f
  where f.job_id = p_job_id and f.token = p_token and f.tenant_id = p_tenant_id and f.attempt = p_attempt;
  if not found then
    outcome := 'stale_token';
    return;
  end if;

  select b.id, b.monthly_limit_usd, b.hard_limit into v_budget_id, limit_usd, v_hard
  from public.llm_budgets b where b.tenant_id = p_tenant_id;
  if not found then
    insert into public.llm_budgets (tenant_id, monthly_limit_usd)
    select t.id, pl.monthly_limit_usd from public.tenants t join public.plans pl on pl.plan = t.plan
    where t.id = p_tenant_id
    on conflict (tenant_id) do nothing;
    select b.id, b.monthly_limit_usd, b.hard_limit into v_budget_id, limit_usd, v_hard
    from public.llm_budgets b where b.tenant_id = p_tenant_id;
    if not found then
      outcome := 'unknown_tenant';
      return;
    end if;
  end if;

  -- The same key again, after an answer that was lost: ahead of the limit, which this hold is part of.
  select f.* into reservation_id, status, sent_at, expires_at, v_same
  from purser.find_reservation(p_tenant_id, p_key, p_job_id, p_attempt, p_hold_usd, p_provider, p_model) f;
  if v_same is not null then
    outcome := case when v_same then 'replayed' else 'conflict' end;
    return;
  end if;

  select p.spent_usd + p.unknown_usd, p.reserved_usd into used_usd, reserved_usd
  from public.llm_budget_periods p
  where p.budget_id = v_budget_id and p.period_start = budget_reserve.period_start;
  if not found then
    insert into public.llm_budget_periods (budget_id, period_start, tenant_id)
    values (v_budget_id, budget_reserve.period_start, p_tenant_id)
    on conflict on constraint llm_budget_periods_pkey do nothing;
    used_usd := 0;
    reserved_usd := 0;
  end if;
  -- A refusal that is already certain takes no lock. The sums may contain the hold of a twin with this key.
  if v_hard and (limit_usd = 0 or used_usd + reserved_usd + p_hold_usd > limit_usd) then
    select f.* into reservation_id, status, sent_at, expires_at, v_same
    from purser.find_reservation(p_tenant_id, p_key, p_job_id, p_attempt, p_hold_usd, p_provider, p_model) f;
    outcome := case when v_same then 'replayed' when not v_same then 'conflict' else 'refused' end;
    return;
  end if;

  -- Whoever ends the attempt deletes this row: it was first, or it waits until the hold is committed.
  perform from purser.in_flight f where f.job_id = p_job_id and f.token = p_token for key share;
  if not found then
    outcome := 'stale_token';
    return;
  end if;
  perform from public.llm_budget_periods p
  where p.budget_id = v_budget_id and p.period_start = budget_reserve.period_start
  for no key update;

  select b.monthly_limit_usd, b.hard_limit, p.spent_usd + p.unknown_usd, p.reserved_usd
  into limit_usd, v_hard, used_usd, reserved_usd
  from public.llm_budget_periods p join public.llm_budgets b on b.id = p.budget_id
  where p.budget_id = v_budget_id and p.period_start = budget_reserve.period_start;
  over_limit := limit_usd = 0 or used_usd + reserved_usd + p_hold_usd > limit_usd;
  if not (v_hard and over_limit) then
    insert into public.llm_reservations (budget_id, period_start, tenant_id, job_id, attempt,
      estimated_cost_usd, created_at, expires_at, idempotency_key, provider, model, price)
    values (v_budget_id, budget_reserve.period_start, p_tenant_id, p_job_id, p_attempt,
      p_hold_usd, v_now, v_now + p_ttl, p_key, p_provider, p_model, p_price)
    on conflict (tenant_id, idempotency_key) do nothing
    returning id, llm_reservations.status, llm_reservations.expires_at
    into reservation_id, status, expires_at;
  end if;
  if reservation_id is null then
    -- Refused, unless a twin with this key came first while this one waited.
    select f.* into reservation_id, status, sent_at, expires_at, v_same
    from purser.find_reservation(p_tenant_id, p_key, p_job_id, p_attempt, p_hold_usd, p_provider, p_model) f;
    outcome := case when v_same then 'replayed' when not v_same then 'conflict' else 'refused' end;
    return;
  end if;

  update public.llm_budget_periods p set reserved_usd = p.reserved_usd + p_hold_usd
  where p.budget_id = v_budget_id and p.period_start = budget_reserve.period_start;
  insert into public.llm_ledger (tenant_id, budget_id, period_start, reservation_id, event,
    reserved_delta_usd, spent_delta_usd, unknown_delta_usd, available_delta_usd)
  values (p_tenant_id, v_budget_id, budget_reserve.period_start, reservation_id, 'reserve',
    p_hold_usd, 0, 0, -p_hold_usd);
  outcome := 'reserved';
end
$$;

create function purser.find_reservation(
  p_tenant_id text, p_key text, p_job_id bigint, p_attempt integer, p_hold_usd numeric, p_provider text, p_model text
) returns table (reservation_id uuid, status text, sent_at timestamptz, expires_at timestamptz, same boolean)
language sql volatile as $$
  select r.id, r.status, r.sent_at, r.expires_at,
    (r.job_id, r.attempt, r.estimated_cost_usd, r.provider, r.model)
      is not distinct from (p_job_id, p_attempt, p_hold_usd, p_provider, p_model)
  from public.llm_reservations r where r.tenant_id = p_tenant_id and r.idempotency_key = p_key
$$;

create function purser.budget_settle(
  p_reservation_id uuid, p_cost_usd numeric, p_items jsonb, p_served_model text, p_service_tier text,
  p_uncovered text[], p_now timestamptz,
  out outcome text, out overage_usd numeric, out hold_usd numeric
) language plpgsql volatile as $$
declare
  v_now timestamptz := coalesce(p_now, clock_timestamp());
  v_hold public.llm_reservations;
  v_reserved numeric;
  v_unknown numeric;
  v_same boolean;
  v_sum numeric;
begin
  perform purser.check_amount(p_cost_usd);
  select coalesce(sum(i.count * coalesce(i.usd, 0)
    * case i.per when 1000000 then 0.000001 when 1000 then 0.001 else 1 end), 0) into v_sum
  from jsonb_to_recordset(p_items) i (class text, count bigint, usd numeric, per integer);
  if ceil(v_sum * 1e9) is distinct from p_cost_usd * 1e9 then
    raise exception 'wrong_bill: the items add up to % USD and not to %', v_sum, p_cost_usd using errcode = 'PU103';
  end if;
  select r.* into v_hold from public.llm_reservations r where r.id = p_reservation_id for no key update;
  if not found then
    outcome := 'unknown_reservation';
    return;
  end if;
  hold_usd := v_hold.estimated_cost_usd;
  overage_usd := greatest(p_cost_usd - hold_usd, 0);
  if v_hold.status = 'APPLIED' then
    select u.cost_usd = p_cost_usd and u.items = jsonb_array_length(p_items) and not exists (
      select i.class, i.count, i.usd, i.per
      from jsonb_to_recordset(p_items) i (class text, count bigint, usd numeric, per integer)
      except
      select s.class, s.count, s.usd, s.per from public.llm_usage_items s where s.reservation_id = p_reservation_id
    ) into v_same
    from public.llm_usage u where u.reservation_id = p_reservation_id;
    outcome := case when v_same then 'replayed' else 'conflict' end;
    return;
  end if;
  v_reserved := case when v_hold.status = 'RESERVED' then hold_usd else 0 end;
  v_unknown := case when v_hold.status = 'UNKNOWN' then hold_usd else 0 end;
  insert into public.llm_usage (reservation_id, tenant_id, input_tokens, output_tokens, cached_tokens,
    reasoning_tokens, cost_usd, overage_usd, items, served_model, service_tier, uncovered, at)
  select p_reservation_id, v_hold.tenant_id,
    coalesce(sum(i.count) filter (where purser.usage_total(i.class) = 'input'), 0),
    coalesce(sum(i.count) filter (where purser.usage_total(i.class) = 'output'), 0),
    coalesce(sum(i.count) filter (where i.class like 'cache\_read%'), 0),
    coalesce(sum(i.count) filter (where i.class = 'reasoning'), 0),
    p_cost_usd, budget_settle.overage_usd, count(*), left(p_served_model, 200), left(p_service_tier, 200),
    p_uncovered, v_now
  from jsonb_to_recordset(p_items) i (class text, count bigint, usd numeric, per integer);
  insert into public.llm_usage_items (reservation_id, class, tenant_id, count, usd, per, amount_usd)
  select p_reservation_id, i.class, v_hold.tenant_id, i.count, i.usd, i.per,
    i.count * coalesce(i.usd, 0) * case i.per when 1000000 then 0.000001 when 1000 then 0.001 else 1 end
  from jsonb_to_recordset(p_items) i (class text, count bigint, usd numeric, per integer);
  update public.llm_reservations r set status = 'APPLIED', closed_at = v_now where r.id = p_reservation_id;
  insert into public.llm_ledger (tenant_id, budget_id, period_start, reservation_id, event,
    reserved_delta_usd, spent_delta_usd, unknown_delta_usd, available_delta_usd)
  values (v_hold.tenant_id, v_hold.budget_id, v_hold.period_start, p_reservation_id, 'settle',
    -v_reserved, p_cost_usd, -v_unknown, v_reserved + v_unknown - p_cost_usd);
  update public.llm_budget_periods p
  set reserved_usd = p.reserved_usd - v_reserved, unknown_usd = p.unknown_usd - v_unknown,
    spent_usd = p.spent_usd + p_cost_usd
  where p.budget_id = v_hold.budget_id and p.period_start = v_hold.period_start;
  outcome := 'settled';
end
$$;

create function purser.budget_close(p_ids uuid[], p_to text, p_now timestamptz)
returns table (reservation_id uuid, closed_as text) language plpgsql volatile as $$
declare
  v_ids uuid[];
begin
  select array_agg(due.id) into v_ids from (
    select r.id from public.llm_reservations r
    where r.id = any (p_ids) and r.status = 'RESERVED' order by r.id for no key update
  ) due;
  perform from public.llm_budget_periods p
  where (p.budget_id, p.period_start) in
    (select r.budget_id, r.period_start from public.llm_reservations r where r.id = any (v_ids))
  order by p.budget_id, p.period_start for no key update;

  return query
  with closed as (
    update public.llm_reservations r
    set status = coalesce(p_to, case when r.sent_at is null then 'RELEASED' else 'UNKNOWN' end),
      closed_at = coalesce(p_now, clock_timestamp())
    where r.id = any (v_ids)
    returning r.id, r.tenant_id, r.budget_id, r.period_start, r.status, r.estimated_cost_usd,
      case when r.status = 'UNKNOWN' then r.estimated_cost_usd else 0 end as unknown_usd
  ), booked as (
    insert into public.llm_ledger (tenant_id, budget_id, period_start, reservation_id, event,
      reserved_delta_usd, spent_delta_usd, unknown_delta_usd, available_delta_usd)
    select c.tenant_id, c.budget_id, c.period_start, c.id,
      case when c.status = 'UNKNOWN' then 'unknown' else 'release' end,
      -c.estimated_cost_usd, 0, c.unknown_usd, c.estimated_cost_usd - c.unknown_usd
    from closed c
  ), counted as (
    update public.llm_budget_periods p
    set reserved_usd = p.reserved_usd - s.reserved_usd, unknown_usd = p.unknown_usd + s.unknown_usd
    from (
      select c.budget_id, c.period_start, sum(c.estimated_cost_usd) as reserved_usd,
        sum(c.unknown_usd) as unknown_usd
      from closed c group by c.budget_id, c.period_start
    ) s
    where p.budget_id = s.budget_id and p.period_start = s.period_start
  )
  select c.id, c.status from closed c;
end
$$;

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
