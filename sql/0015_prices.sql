-- Prices of models as append-only versions. A price that changes or was wrong is a new version, from whatever time it
-- holds, and what was priced before keeps its own copy (llm_reservations.price): so the price that was in force at any
-- time can be asked for, and a correction can be compared with what was charged. Operators' prices, for all tenants or
-- for one, are ahead of the published ones of @pydantic/genai-prices, which `purser prices sync` copies.

-- {class: {usd, tiers: [{aboveInputTokens, usd}]}}, with decimals as strings: exact in every language. Classes are those of
-- src/budget/usage-classes.ts; what is billed otherwise than input and output may be left out.
create function purser.are_rates(p_rates jsonb) returns boolean language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select jsonb_typeof(p_rates) = 'object' and p_rates ? 'input' and p_rates ? 'output' and not exists (
    select from jsonb_each(case when jsonb_typeof(p_rates) = 'object' then p_rates else '{}' end) r (class, rate)
    where (r.class ~ '^[a-z][a-z0-9_]{0,99}$' and jsonb_typeof(r.rate) = 'object'
      and jsonb_typeof(r.rate->'usd') = 'string' and r.rate->>'usd' ~ '^[0-9]{1,9}(\.[0-9]+)?$'
      and coalesce(jsonb_typeof(r.rate->'tiers'), 'array') = 'array'
      and not exists (
        select from jsonb_array_elements(
          case when jsonb_typeof(r.rate->'tiers') = 'array' then r.rate->'tiers' else '[]' end) t (tier)
        where (jsonb_typeof(t.tier->'aboveInputTokens') = 'number' and t.tier->>'aboveInputTokens' ~ '^[0-9]{1,15}$'
          and jsonb_typeof(t.tier->'usd') = 'string' and t.tier->>'usd' ~ '^[0-9]{1,9}(\.[0-9]+)?$') is not true)
      ) is not true)
$$;

create table public.llm_price_versions (
  id bigint generated always as identity primary key,
  source text not null check (source in ('operator', 'genai-prices')),
  -- null: of all tenants.
  tenant_id text references public.tenants (id) on delete cascade,
  -- Who sells the model: an id of the published prices, or the host of a server of one's own. null: whoever sells it.
  provider text check (provider ~ '^[][a-z0-9][][a-z0-9._:-]{0,199}$'),
  model text not null,
  -- null: from then on there is no price of this source and scope, and the next one counts.
  rates jsonb check (purser.are_rates(rates)),
  -- In whole milliseconds, as the CLI shows and takes it. Of two versions from the same time the later one counts.
  valid_from timestamptz not null default date_trunc('milliseconds', now()) check (isfinite(valid_from)),
  created_at timestamptz not null default clock_timestamp(),
  by text not null,
  reason text not null check (length(reason) between 1 and 500),
  constraint published_has_provider check (source = 'operator' or (tenant_id is null and provider is not null))
);
create index ix_llm_price_versions_model on public.llm_price_versions
  (model, source, coalesce(tenant_id, ''), coalesce(provider, ''), valid_from, id);
create index ix_llm_price_versions_tenant_id on public.llm_price_versions (tenant_id) where tenant_id is not null;
comment on column public.llm_price_versions.rates is 'USD per million tokens of a class, per thousand of a fee, by class.';

-- Rates without tiers and classes of their own; the fee is stored per thousand requests.
create function purser.simple_rates(p_input_usd numeric, p_output_usd numeric, p_usd_per_request numeric) returns jsonb
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select jsonb_build_object(
    'input', jsonb_build_object('usd', trim_scale(p_input_usd)::text),
    'output', jsonb_build_object('usd', trim_scale(p_output_usd)::text))
    || case when p_usd_per_request = 0 then '{}'
      else jsonb_build_object('request', jsonb_build_object('usd', trim_scale(p_usd_per_request * 1000)::text)) end
$$;

insert into public.llm_price_versions (source, model, rates, valid_from, by, reason)
select 'operator', p.model, purser.simple_rates(p.input_usd_per_mtok, p.output_usd_per_mtok, p.usd_per_request),
  date_trunc('milliseconds', least(greatest(p.valid_from, '0001-01-01Z'), '9999-12-31Z')), 'migration',
  'in llm_prices before migration 0015'
from public.llm_prices p order by p.model, p.valid_from;

drop table public.llm_prices;

create trigger check_names after insert or update of model, by on public.llm_price_versions
  for each row execute function purser.check_names('model', 'model', 'by', 'operator');
-- The versions of a tenant go with the tenant: that delete comes from a trigger of the foreign key.
create trigger append_only before update or delete or truncate on public.llm_price_versions
  for each statement when (pg_trigger_depth() = 0) execute function purser.refuse_change();

-- The operators' prices for all tenants in their simple form, which was a table before; without those that another
-- version corrected or ended. An insert is a new version.
create view public.llm_prices with (security_invoker = true) as
select v.model, v.valid_from,
  (v.rates #>> '{input,usd}')::numeric as input_usd_per_mtok,
  (v.rates #>> '{output,usd}')::numeric as output_usd_per_mtok,
  coalesce((v.rates #>> '{request,usd}')::numeric * 0.001, 0) as usd_per_request
from public.llm_price_versions v
where v.source = 'operator' and v.tenant_id is null and v.provider is null and v.rates is not null
  and not exists (
    select from public.llm_price_versions l
    where l.model = v.model and l.source = 'operator' and l.tenant_id is null and l.provider is null
      and (l.valid_from = v.valid_from and l.id > v.id
        or l.rates is null and l.valid_from > v.valid_from and l.valid_from <= now()));
alter view public.llm_prices alter column valid_from set default now();
alter view public.llm_prices alter column usd_per_request set default 0;

-- Not a definer: who may not write versions adds no price here either.
create function purser.add_simple_price() returns trigger language plpgsql as $$
begin
  insert into public.llm_price_versions (source, model, rates, valid_from, by, reason)
  values ('operator', new.model,
    purser.simple_rates(new.input_usd_per_mtok, new.output_usd_per_mtok, new.usd_per_request),
    date_trunc('milliseconds', new.valid_from), session_user, 'inserted into llm_prices');
  return new;
end
$$;
create trigger add_simple_price instead of insert on public.llm_prices
  for each row execute function purser.add_simple_price();

select purser.protect_table('public.llm_price_versions', '');
