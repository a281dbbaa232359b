-- Usage is stored as items (class, count, rate, amount), so that a new class of usage is a row and not a column; with
-- the model and service tier that answered, and what the price does not cover. The token columns of llm_usage are
-- sums of the items. The operator's prices get a fee per request. Deleted budgets are remembered, so that a ledger
-- row of a budget that never was is told from one of a deleted tenant.
-- SQLSTATE: PU103 wrong_bill.
alter table public.llm_prices
  add column usd_per_request numeric not null default 0 check (usd_per_request >= 0 and usd_per_request < 1e6);

alter table public.llm_usage
  add column items integer not null default 0 check (items >= 0),
  add column served_model text check (length(served_model) <= 200),
  add column service_tier text check (length(service_tier) <= 200),
  add column uncovered text[] not null default '{}';
comment on column public.llm_usage.items is 'Number of rows in llm_usage_items; 0 for usage from before that table.';
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

-- No foreign keys: the rows, like the ledger, are kept after their tenant is deleted.
create table public.llm_deleted_budgets (
  budget_id uuid primary key,
  tenant_id text not null,
  deleted_at timestamptz not null default now()
);
insert into public.llm_deleted_budgets (budget_id, tenant_id)
select distinct on (l.budget_id) l.budget_id, l.tenant_id from public.llm_ledger l
where not exists (select from public.llm_budgets b where b.id = l.budget_id)
order by l.budget_id, l.id;

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

select purser.protect_table('public.llm_usage_items', '');
select purser.protect_table('public.llm_deleted_budgets', '');
