-- Plans and tenants. `insert into tenants (id, plan, last_active_at)` by any privileged client is all
-- that a tenant needs: later migrations hang its queue row and schedules on purser.tenant_created().

create table public.plans (
  plan text primary key,
  monthly_limit_usd numeric(18, 9) not null check (monthly_limit_usd >= 0)
);
insert into public.plans (plan, monthly_limit_usd) values
  ('free', 1), ('starter', 5), ('growth', 20), ('pro', 100), ('enterprise', 500);

create table public.tenants (
  id text primary key check (length(id) between 1 and 200 and id !~ '[[:cntrl:]]'),
  plan text not null default 'free' references public.plans (plan),
  last_active_at timestamptz not null default now(),
  created_at timestamptz not null default now()
);

select purser.protect_table('public.tenants', 'select', 'id');

-- high_value pays for freshness, active uses the product, dormant does neither.
create function purser.cohort_of(p_plan text, p_last_active_at timestamptz, p_now timestamptz)
returns text language sql immutable as $$
  select case
    when p_plan in ('enterprise', 'pro') then 'high_value'
    when p_plan = 'growth' or p_last_active_at > p_now - interval '7 days' then 'active'
    else 'dormant'
  end
$$;
