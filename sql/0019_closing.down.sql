select purser.forget_table('public.llm_period_checkpoints');
select purser.forget_table('public.llm_limit_changes');
drop function purser.checkpointed_ledger_id();
drop function purser.close_months(date, date, integer, text);
drop function purser.ledger_position();
drop function purser.ledger_row_digest(public.llm_ledger);
drop function purser.ledger_digest(text, bytea);
drop trigger reopen_month on public.llm_budget_periods;
drop function purser.reopen_month();
drop index public.ix_llm_ledger_budget_id;
create index ix_llm_ledger_budget_id on public.llm_ledger (budget_id, period_start);
alter table public.llm_budget_periods drop column closed_at;
drop table public.llm_period_checkpoints;
create or replace function purser.budget_follows_plan() returns trigger language plpgsql as $$
begin
  update public.llm_budgets b
  set monthly_limit_usd = pl.monthly_limit_usd, updated_at = now()
  from public.plans pl
  where pl.plan = new.plan and b.tenant_id = new.id and b.limit_source = 'plan';
  return null;
end
$$;
drop trigger place_top_up on public.llm_top_ups;
drop function purser.place_top_up();
alter table public.llm_top_ups drop column position;
drop trigger record_limit on public.llm_scopes;
drop trigger record_changed_limit on public.llm_scopes;
drop function purser.record_scope_limit();
drop trigger record_first_limit on public.llm_budgets;
drop trigger record_limit on public.llm_budgets;
drop function purser.record_budget_limit();
drop table public.llm_limit_changes;
drop trigger keep_money on public.tenants;
drop function purser.keep_money_of_tenant();
drop trigger keep_money on public.llm_budget_periods;
drop function purser.keep_money();
-- Not validated: what was kept of a removed tenant stays.
alter table public.llm_refusals
  add foreign key (tenant_id) references public.tenants (id) on delete cascade not valid;
alter table public.llm_budget_periods
  add foreign key (tenant_id) references public.tenants (id) on delete cascade not valid;
alter table public.llm_pins
  add foreign key (tenant_id) references public.tenants (id) on delete cascade not valid;
alter table public.llm_usage_items
  drop constraint llm_usage_items_reservation_id_fkey,
  add foreign key (reservation_id) references public.llm_usage (reservation_id) on delete cascade,
  add foreign key (tenant_id) references public.tenants (id) on delete cascade not valid;
alter table public.llm_usage
  drop constraint llm_usage_reservation_id_fkey,
  add foreign key (reservation_id) references public.llm_reservations (id) on delete cascade,
  add foreign key (tenant_id) references public.tenants (id) on delete cascade not valid;
alter table public.llm_reservations
  add foreign key (tenant_id) references public.tenants (id) on delete cascade not valid,
  add foreign key (budget_id) references public.llm_budgets (id) on delete cascade not valid,
  add foreign key (budget_id, period_start) references public.llm_budget_periods on delete cascade not valid;
