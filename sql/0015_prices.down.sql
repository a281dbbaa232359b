select purser.forget_table('public.llm_price_versions');
alter view public.llm_prices rename to simple_prices;
create table public.llm_prices (
  model text not null,
  valid_from timestamptz not null default now(),
  input_usd_per_mtok numeric not null check (input_usd_per_mtok >= 0 and input_usd_per_mtok < 1e9),
  output_usd_per_mtok numeric not null check (output_usd_per_mtok >= 0 and output_usd_per_mtok < 1e9),
  usd_per_request numeric not null default 0 check (usd_per_request >= 0 and usd_per_request < 1e6),
  primary key (model, valid_from)
);
-- What the table can hold: prices of all tenants and providers, without further rates.
insert into public.llm_prices
select p.model, p.valid_from, p.input_usd_per_mtok, p.output_usd_per_mtok, p.usd_per_request from public.simple_prices p;
drop view public.simple_prices;
drop function purser.add_simple_price();
create trigger check_names after insert or update of model on public.llm_prices
  for each row execute function purser.check_names('model', 'model');
drop table public.llm_price_versions;
drop function purser.simple_rates(numeric, numeric, numeric);
drop function purser.are_rates(jsonb);
