-- Money: budgets, their periods, reservations, usage and the ledger, and the four functions that move it.
-- A hold is taken before a request leaves (budget_reserve) and ends in exactly one of: settled, released,
-- unknown. Counters in llm_budget_periods are a cache of llm_ledger, kept in the same transaction.
-- Lock order: reservation, then period; a new reservation is inserted under its period's lock.
-- SQLSTATEs: PU101 invalid_amount, PU102 wrong_isolation, PU103 wrong_bill.

create table public.llm_budgets (
  id uuid primary key default gen_random_uuid(),
  tenant_id text not null references public.tenants (id) on delete cascade,
  monthly_limit_usd numeric(18, 9) not null check (monthly_limit_usd >= 0 and monthly_limit_usd < 1e9),
  hard_limit boolean not null default true,
  -- 'plan' follows the tenant's plan when that changes; 'operator' was set by hand and stays.
  limit_source text not null default 'plan' check (limit_source in ('plan', 'operator')),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create unique index ix_llm_budgets_tenant_id on public.llm_budgets (tenant_id);

-- One row per budget and UTC month, made on first use: a new month needs no reset job. The fillfactor
-- leaves room for heap-only updates of this hot row.
create table public.llm_budget_periods (
  budget_id uuid not null references public.llm_budgets (id) on delete cascade,
  period_start date not null check (extract(day from period_start) = 1),
  tenant_id text not null references public.tenants (id) on delete cascade,
  reserved_usd numeric(18, 9) not null default 0 check (reserved_usd >= 0 and reserved_usd < 1e9),
  spent_usd numeric(18, 9) not null default 0 check (spent_usd >= 0 and spent_usd < 1e9),
  unknown_usd numeric(18, 9) not null default 0 check (unknown_usd >= 0 and unknown_usd < 1e9),
  primary key (budget_id, period_start)
) with (fillfactor = 50);
create index ix_llm_budget_periods_tenant_id on public.llm_budget_periods (tenant_id);

create table public.llm_reservations (
  id uuid primary key default gen_random_uuid(),
  budget_id uuid not null references public.llm_budgets (id) on delete cascade,
  period_start date not null,
  tenant_id text not null references public.tenants (id) on delete cascade,
  job_id bigint,
  attempt integer,
  estimated_cost_usd numeric(18, 9) not null check (estimated_cost_usd >= 0 and estimated_cost_usd < 1e9),
  status text not null default 'RESERVED' check (status in ('RESERVED', 'APPLIED', 'RELEASED', 'UNKNOWN')),
  created_at timestamptz not null default now(),
  sent_at timestamptz,
  expires_at timestamptz not null,
  closed_at timestamptz,
  idempotency_key text not null check (length(idempotency_key) between 1 and 200),
  provider text not null,
  model text not null,
  price jsonb not null,
  constraint closed_iff_not_reserved check ((status = 'RESERVED') = (closed_at is null)),
  foreign key (budget_id, period_start) references public.llm_budget_periods on delete cascade
);
create unique index ix_llm_reservations_idempotency_key on public.llm_reservations (tenant_id, idempotency_key);
create index ix_llm_reservations_budget_id on public.llm_reservations (budget_id, period_start);
create index ix_llm_reservations_expires_at on public.llm_reservations (expires_at) where status = 'RESERVED';
create index ix_llm_reservations_job_id on public.llm_reservations (job_id);

-- Usage is stored as items (class, count, rate, amount), so that a new class of usage is a row and not a column; with
-- the model and service tier that answered, and what the price does not cover. The token columns are sums of the items.
create table public.llm_usage (
  reservation_id uuid primary key references public.llm_reservations (id) on delete cascade,
  tenant_id text not null references public.tenants (id) on delete cascade,
  input_tokens bigint not null check (input_tokens >= 0),
  output_tokens bigint not null check (output_tokens >= 0),
  cached_tokens bigint not null default 0 check (cached_tokens >= 0),
  reasoning_tokens bigint not null default 0 check (reasoning_tokens >= 0),
  cost_usd numeric(18, 9) not null check (cost_usd >= 0 and cost_usd < 1e9),
  overage_usd numeric(18, 9) not null check (overage_usd >= 0 and overage_usd <= cost_usd),
  items integer not null default 0 check (items >= 0),
  served_model text check (length(served_model) <= 200),
  service_tier text check (length(service_tier) <= 200),
  uncovered text[] not null default '{}',
  at timestamptz not null default now()
);
create index ix_llm_usage_tenant_id on public.llm_usage (tenant_id, at);
comment on column public.llm_usage.items is 'Number of rows in llm_usage_items.';
comment on column public.llm_usage.uncovered is 'What was used and has no rate in the price; the charge is then at least the hold.';

create table public.llm_usage_items (
  reservation_id uuid not null references public.llm_usage (reservation_id) on delete cascade,
  class text not null check (length(class) between 1 and 100),
  tenant_id text not null references public.tenants (id) on delete cascade,
  count bigint not null check (count >= 0),
  -- USD per so many units; null where the price has no rate.
  usd numeric check (usd >= 0 and usd < 1e9),
  per integer not null check (per in (1, 1000, 1000000)),
  amount_usd numeric not null check (amount_usd >= 0 and amount_usd < 1e9),
  primary key (reservation_id, class),
  constraint amount_is_count_times_rate check (amount_usd * per = count * coalesce(usd, 0))
);
create index ix_llm_usage_items_tenant_id on public.llm_usage_items (tenant_id, class);

-- The book itself. No foreign keys: it outlives what it tells of (erasure pseudonymises, it does not
-- delete). Deltas are counted from an empty account, so a change of the limit is not an entry.
create table public.llm_ledger (
  id bigint generated always as identity,
  at timestamptz not null default clock_timestamp(),
  tenant_id text not null,
  budget_id uuid not null,
  period_start date not null,
  reservation_id uuid not null,
  event text not null check (event in ('reserve', 'settle', 'release', 'unknown')),
  reserved_delta_usd numeric(18, 9) not null,
  spent_delta_usd numeric(18, 9) not null,
  unknown_delta_usd numeric(18, 9) not null,
  available_delta_usd numeric(18, 9) not null,
  primary key (id, at),
  constraint deltas_sum_to_zero check
    (reserved_delta_usd + spent_delta_usd + unknown_delta_usd + available_delta_usd = 0),
  constraint deltas_are_numbers check
    (reserved_delta_usd < 1e9 and spent_delta_usd < 1e9 and unknown_delta_usd < 1e9)
);
create index ix_llm_ledger_budget_id on public.llm_ledger (budget_id, period_start);
create index ix_llm_ledger_reservation_id on public.llm_ledger (reservation_id);
create trigger append_only before update or delete or truncate on public.llm_ledger
  for each statement execute function purser.refuse_change();

-- Deleted budgets are remembered, so that a ledger row of a budget that never was is told from one of a deleted tenant.
-- No foreign keys: the rows, like the ledger, are kept after their tenant is deleted.
create table public.llm_deleted_budgets (
  budget_id uuid primary key,
  tenant_id text not null,
  deleted_at timestamptz not null default now()
);

create function purser.remember_deleted_budget() returns trigger language plpgsql security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  insert into public.llm_deleted_budgets (budget_id, tenant_id) values (old.id, old.tenant_id)
  on conflict (budget_id) do nothing;
  return null;
end
$$;
create trigger remember_deleted_budget after delete on public.llm_budgets
  for each row execute function purser.remember_deleted_budget();

-- The operator's own prices, ahead of the published ones.
create table public.llm_prices (
  model text not null check (length(model) between 1 and 200),
  valid_from timestamptz not null default now(),
  input_usd_per_mtok numeric not null check (input_usd_per_mtok >= 0 and input_usd_per_mtok < 1e9),
  output_usd_per_mtok numeric not null check (output_usd_per_mtok >= 0 and output_usd_per_mtok < 1e9),
  usd_per_request numeric not null default 0 check (usd_per_request >= 0 and usd_per_request < 1e6),
  primary key (model, valid_from)
);

-- A tenant that has not called yet shows what it would get: its plan's limit, hard.
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

-- A plan change reaches the budget unless an operator set that by hand.
create function purser.budget_follows_plan() returns trigger language plpgsql as $$
begin
  update public.llm_budgets b
  set monthly_limit_usd = pl.monthly_limit_usd, updated_at = now()
  from public.plans pl
  where pl.plan = new.plan and b.tenant_id = new.id and b.limit_source = 'plan';
  return null;
end
$$;
create trigger budget_follows_plan after update of plan on public.tenants
  for each row when (old.plan is distinct from new.plan) execute function purser.budget_follows_plan();

create function purser.check_amount(p_usd numeric) returns void language plpgsql immutable as $$
begin
  if (p_usd >= 0 and p_usd < 1e9 and p_usd = round(p_usd, 9)) is not true then
    raise exception 'invalid_amount: % is not an amount in USD of at most 9 decimals, from 0 to 10^9', p_usd
      using errcode = 'PU101';
  end if;
end
$$;

-- Takes a hold, or says why not. outcome: reserved; replayed (this key already holds the same);
-- conflict (this key holds something else); refused (hard limit); stale_token; unknown_tenant.
-- Separate statements in READ COMMITTED, each with its own snapshot: one statement could neither see the
-- period row it has just inserted nor a limit that changed while it waited for the row.
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

-- The total of tokens that a class is part of: input, output, or fee for what is no token.
create function purser.usage_total(p_class text) returns text language sql immutable
set search_path = pg_catalog, pg_temp as $$
  select case
    when p_class in ('input', 'input_audio', 'input_image', 'input_video', 'cache_read', 'cache_read_audio',
      'cache_read_image', 'cache_read_video', 'cache_write', 'cache_write_1h') then 'input'
    when p_class in ('output', 'output_audio', 'output_image', 'output_video', 'reasoning', 'citation') then 'output'
    else 'fee'
  end
$$;

-- Charges a bill into the reservation's own period and frees the hold, once. No attempt token is needed: the money
-- was spent. Also replaces an UNKNOWN, and charges a RELEASED that was billed after all.
-- p_items: [{class, count, usd, per}]; their sum, rounded up to 9 decimals, must be p_cost_usd.
-- outcome: settled; replayed (before, with the same bill); conflict (another bill); unknown_reservation.
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

-- Ends reservations without a bill: RELEASED gives the hold back, UNKNOWN keeps it charged until resolved.
-- p_to null decides by whether the request had left. Returns the ids that were still RESERVED, with what
-- became of them. Periods are locked in key order, so that two sweeps never wait for each other in a circle.
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

-- Ends up to p_limit reservations whose time is over: never sent is released, sent is unknown.
create function purser.budget_expire(p_now timestamptz, p_limit integer, out released integer, out unknown integer)
language plpgsql volatile as $$
declare
  v_ids uuid[];
begin
  select array_agg(due.id) into v_ids from (
    select r.id from public.llm_reservations r
    where r.status = 'RESERVED' and r.expires_at <= coalesce(p_now, clock_timestamp())
    order by r.expires_at limit p_limit for no key update skip locked
  ) due;
  select count(*) filter (where c.closed_as = 'RELEASED'), count(*) filter (where c.closed_as = 'UNKNOWN')
  into released, unknown
  from purser.budget_close(v_ids, null, p_now) c;
end
$$;

select purser.protect_table('public.llm_budgets', '');
select purser.protect_table('public.llm_budget_periods', '');
select purser.protect_table('public.llm_reservations', '');
select purser.protect_table('public.llm_usage', '');
select purser.protect_table('public.llm_ledger', '');
select purser.protect_table('public.llm_usage_items', '');
select purser.protect_table('public.llm_deleted_budgets', '');
