drop function purser.budget_settle(uuid, numeric, jsonb, text, text, text[], timestamptz);
select purser.forget_table('public.llm_usage_items');
drop table public.llm_usage_items;
drop function purser.usage_total(text);
alter table public.llm_usage drop column uncovered, drop column service_tier, drop column served_model, drop column items;
alter table public.llm_prices drop column usd_per_request;
