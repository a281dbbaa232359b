-- Without own_* what was counted apart is counted nowhere: its reservations would be those of the platform, so that it is
-- added to the month.
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
  coalesce(b.monthly_limit_usd, pl.monthly_limit_usd) + coalesce(p.top_up_usd, 0)
    - coalesce(p.spent_usd + p.unknown_usd + p.reserved_usd, 0) as available_usd,
  (m.period_start + interval '1 month') at time zone 'UTC' as resets_at,
  coalesce(p.top_up_usd, 0) as top_up_usd
from public.tenants t
join public.plans pl on pl.plan = t.plan
cross join (select date_trunc('month', now() at time zone 'UTC')::date as period_start) m
left join public.llm_budgets b on b.tenant_id = t.id
left join public.llm_budget_periods p on p.budget_id = b.id and p.period_start = m.period_start;

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
      and r.created_at >= v_start and r.created_at < v_end
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

drop function purser.scope_counts(text, boolean);
update public.llm_budget_periods p
set reserved_usd = p.reserved_usd + p.own_reserved_usd, spent_usd = p.spent_usd + p.own_spent_usd,
  unknown_usd = p.unknown_usd + p.own_unknown_usd
where p.own_reserved_usd + p.own_spent_usd + p.own_unknown_usd > 0;
alter table public.llm_budget_periods
  drop column own_reserved_usd, drop column own_spent_usd, drop column own_unknown_usd;
alter table public.llm_refusals drop column counts_apart, drop column provider_key;
alter table public.llm_ledger drop column counts_apart;
alter table public.llm_reservations drop column counts_apart;
delete from purser.encrypted_columns where place = 'llm_provider_keys.api_key';
select purser.forget_table('public.llm_provider_keys');
drop table public.llm_provider_keys;
