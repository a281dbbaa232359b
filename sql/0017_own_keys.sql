-- Tenants' own keys of LLM providers. A call of a tenant that has a key of its own for the provider is made with that key
-- and with no other. Its reservation has the provider_key own:PROVIDER. Unless the key counts against the budget, what it
-- spends is counted apart: in own_* of the month, and in no scope of kind tenant, job_type or model, which limit what the
-- platform pays.

create table public.llm_provider_keys (
  id uuid primary key default gen_random_uuid(),
  tenant_id text not null references public.tenants (id) on delete cascade,
  provider text not null check (provider in ('openai', 'anthropic', 'google')),
  -- Encrypted by src/crypto, bound to the tenant and this column.
  api_key text not null,
  encryption_key_version integer not null,
  -- For lists, in which the key itself is never shown.
  last_four text not null check (length(last_four) = 4),
  counts_against_budget boolean not null default false,
  set_by text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (tenant_id, provider)
);
create index ix_llm_provider_keys_encryption_key_version on public.llm_provider_keys (encryption_key_version);
create trigger check_names after insert or update of set_by on public.llm_provider_keys
  for each row execute function purser.check_names('set_by', 'operator');
select purser.protect_table('public.llm_provider_keys', '');
select purser.encrypt_column('public.llm_provider_keys', 'api_key', 'api_key');

-- Decided at the reserve, and kept by all that follows of the reservation.
alter table public.llm_reservations add column counts_apart boolean not null default false;
alter table public.llm_ledger add column counts_apart boolean not null default false;
alter table public.llm_refusals
  add column counts_apart boolean not null default false,
  add column provider_key text not null default 'platform';
comment on column public.llm_reservations.counts_apart is
  'Paid with the tenant''s own key, and counted in own_* of the month.';
alter table public.llm_budget_periods
  add column own_reserved_usd numeric(18, 9) not null default 0 check (own_reserved_usd >= 0 and own_reserved_usd < 1e9),
  add column own_spent_usd numeric(18, 9) not null default 0 check (own_spent_usd >= 0 and own_spent_usd < 1e9),
  add column own_unknown_usd numeric(18, 9) not null default 0 check (own_unknown_usd >= 0 and own_unknown_usd < 1e9);

-- Whether a scope of this kind counts a call.
create function purser.scope_counts(p_kind text, p_counts_apart boolean) returns boolean
language sql immutable parallel safe as $$
  select not (p_counts_apart and p_kind in ('tenant', 'job_type', 'model'))
$$;

create or replace view public.llm_budget_status with (security_invoker = true) as
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
  coalesce(b.monthly_limit_usd, pl.monthly_limit_usd) + coalesce(p.top_up_usd, 0)
    - coalesce(p.spent_usd + p.unknown_usd + p.reserved_usd, 0) as available_usd,
  (m.period_start + interval '1 month') at time zone 'UTC' as resets_at,
  coalesce(p.top_up_usd, 0) as top_up_usd,
  coalesce(p.own_spent_usd, 0) as own_spent_usd,
  coalesce(p.own_unknown_usd, 0) as own_unknown_usd,
  coalesce(p.own_reserved_usd, 0) as own_reserved_usd
from public.tenants t
join public.plans pl on pl.plan = t.plan
cross join (select date_trunc('month', now() at time zone 'UTC')::date as period_start) m
left join public.llm_budgets b on b.tenant_id = t.id
left join public.llm_budget_periods p on p.budget_id = b.id and p.period_start = m.period_start;

-- As before, without the calls that its kind does not count.
create or replace function purser.fill_scope(p_scope_id bigint, p_at timestamptz) returns void language plpgsql volatile as $$
declare
  v_scope public.llm_scopes;
  v_start timestamptz;
  v_end timestamptz;
begin
  select s.* into v_scope from public.llm_scopes s where s.id = p_scope_id;
  select l.starts_at, l.ends_at into v_start, v_end
  from purser.local_period(v_scope.period, v_scope.time_zone, p_at) l;
  with counted as materialized (
    select r.id, r.status, r.estimated_cost_usd, u.cost_usd, c.value
    from public.llm_reservations r
    left join public.llm_usage u on u.reservation_id = r.id
    cross join lateral purser.scopes_of_call(r.tenant_id, r.job_id, r.job_type, r.model, r.provider_key, r.end_user) c
    where r.tenant_id = v_scope.tenant_id and c.scope_id = p_scope_id
      and r.created_at >= v_start and r.created_at < v_end and purser.scope_counts(v_scope.kind, r.counts_apart)
      and (v_scope.kind <> 'job' or exists (select from public.background_jobs j
        where j.id = r.job_id and j.state not in ('completed', 'dead_letter', 'cancelled')))
  ), period as (
    insert into public.llm_scope_periods (scope_id, tenant_id, value, starts_at, ends_at, reserved_usd, spent_usd,
      unknown_usd, calls)
    select p_scope_id, v_scope.tenant_id, c.value, v_start, v_end,
      coalesce(sum(c.estimated_cost_usd) filter (where c.status = 'RESERVED'), 0),
      coalesce(sum(c.cost_usd), 0),
      coalesce(sum(c.estimated_cost_usd) filter (where c.status = 'UNKNOWN'), 0),
      count(*) filter (where c.status <> 'RELEASED')
    from counted c group by c.value
    returning id, value
  )
  insert into public.llm_pins (reservation_id, scope_period_id, tenant_id)
  select c.id, p.id, v_scope.tenant_id from counted c join period p on p.value = c.value;
end
$$;
