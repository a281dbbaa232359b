-- Plans and tenants. `insert into tenants (id, plan, last_active_at)` by any privileged client is all that a tenant
-- needs: the triggers of later migrations give it its queue and schedules, and its budget follows its plan. Two tenants
-- whose ids differ only in case, blanks, invisible characters or Unicode form ("Acme", "acme ") are one tenant to the
-- people who type and read them. The second one is refused, whoever adds it.

create table public.plans (
  plan text primary key,
  monthly_limit_usd numeric(18, 9) not null check (monthly_limit_usd >= 0),
  -- Jobs that a tenant may have per turn, while others wait.
  weight integer not null default 1 check (weight between 1 and 100),
  -- What a tenant may have enqueued and not begun; null: no limit.
  max_backlog_jobs integer check (max_backlog_jobs >= 0),
  max_backlog_bytes bigint check (max_backlog_bytes >= 0)
);
insert into public.plans (plan, monthly_limit_usd, weight) values
  ('free', 1, 1), ('starter', 5, 1), ('growth', 20, 2), ('pro', 100, 4), ('enterprise', 500, 4);

-- The form in which ids are compared. The collation is one that knows the case of every letter, where the server has
-- one; the letters of ASCII are known to all.
do $$
declare
  v_collation text := coalesce(
    (select quote_ident(collname) from pg_catalog.pg_collation
     where collnamespace = 'pg_catalog'::regnamespace and collname in ('pg_c_utf8', 'und-x-icu')
     order by collname limit 1),
    '"default"');
begin
  execute format($f$
    create function purser.tenant_form(p_id text) returns text language sql immutable strict parallel safe
    return lower(normalize(translate(normalize(p_id, nfkc),
      U&' \00AD\034F\115F\1160\1680\180E\200B\200C\200D\200E\200F\2028\2029\202A\202B\202C\202D\202E\2060\2061\2062\2063\2064\2066\2067\2068\2069\206A\206B\206C\206D\206E\206F\FE00\FE01\FE02\FE03\FE04\FE05\FE06\FE07\FE08\FE09\FE0A\FE0B\FE0C\FE0D\FE0E\FE0F\FEFF',
      ''), nfkc) collate pg_catalog.%s)
  $f$, v_collation);
end $$;

create table public.tenants (
  id text primary key check (length(id) between 1 and 200 and id !~ '[[:cntrl:]]'),
  plan text not null default 'free' references public.plans (plan),
  last_active_at timestamptz not null default now(),
  created_at timestamptz not null default now(),
  -- In place of the plan's, where not null.
  weight integer check (weight between 1 and 100),
  max_backlog_jobs integer check (max_backlog_jobs >= 0),
  max_backlog_bytes bigint check (max_backlog_bytes >= 0),
  constraint id_is_visible check (purser.tenant_form(id) <> '')
);
create unique index ux_tenants_form on public.tenants (purser.tenant_form(id));

-- high_value pays for freshness, active uses the product, dormant does neither.
create function purser.cohort_of(p_plan text, p_last_active_at timestamptz, p_now timestamptz)
returns text language sql immutable as $$
  select case
    when p_plan in ('enterprise', 'pro') then 'high_value'
    when p_plan = 'growth' or p_last_active_at > p_now - interval '7 days' then 'active'
    else 'dormant'
  end
$$;

select purser.protect_table('public.tenants', 'select', 'id');
