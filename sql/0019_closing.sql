-- What is kept of money, and what is known of it: no delete takes a call, the limits over time are on record, and a month
-- that has ended is closed by a checkpoint.
-- The rows of calls have no foreign keys to tenants, budgets and months: these cost a look-up each
-- per call and a shared lock on a row that all calls of a tenant change. Instead a tenant, a budget or a month that has
-- money rows is not deleted.
-- SQLSTATEs: PU105 has_money.

alter table public.llm_reservations
  drop constraint llm_reservations_tenant_id_fkey,
  drop constraint llm_reservations_budget_id_fkey,
  drop constraint llm_reservations_budget_id_period_start_fkey;
alter table public.llm_usage
  drop constraint llm_usage_tenant_id_fkey,
  drop constraint llm_usage_reservation_id_fkey,
  add foreign key (reservation_id) references public.llm_reservations (id);
alter table public.llm_usage_items
  drop constraint llm_usage_items_tenant_id_fkey,
  drop constraint llm_usage_items_reservation_id_fkey,
  add foreign key (reservation_id) references public.llm_usage (reservation_id);
-- It goes with its budget. The first call of a month holds a shared lock of the budget while it makes the month; if that
-- needed one of the tenant as well, it would wait for a delete of the tenant that waits for the budget.
alter table public.llm_budget_periods drop constraint llm_budget_periods_tenant_id_fkey;
-- Pins are a cache: they go with their reservation.
alter table public.llm_pins drop constraint llm_pins_tenant_id_fkey;
alter table public.llm_refusals drop constraint llm_refusals_tenant_id_fkey;

-- For the month the caller's delete has locked the row that a reserve locks before it writes: what committed first is
-- seen here, and who comes later finds no month.
create function purser.keep_money() returns trigger language plpgsql security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  if exists (select from public.llm_reservations r
      where r.budget_id = old.budget_id and r.period_start = old.period_start)
    or exists (select from public.llm_ledger l
      where l.budget_id = old.budget_id and l.period_start = old.period_start) then
    raise exception 'has_money: month % of the budget of tenant % has reservations or ledger rows and is kept',
      old.period_start, quote_literal(old.tenant_id) using errcode = 'PU105';
  end if;
  return old;
end
$$;
create trigger keep_money before delete on public.llm_budget_periods
  for each row execute function purser.keep_money();

-- A new budget needs a shared lock of the tenant's row, which the delete holds. The rest is locked here as a reserve
-- locks it: the budget, of which a new month needs a shared lock, the attempts, and the months. Who waits for an attempt
-- finds a stale token.
create function purser.keep_money_of_tenant() returns trigger language plpgsql security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  -- Most tenants have calls, and are refused without any lock.
  for v_pass in 1 .. 2 loop
    if exists (select from public.llm_reservations r where r.tenant_id = old.id)
      or exists (select from public.llm_refusals r where r.tenant_id = old.id)
      or exists (select from public.llm_ledger l join public.llm_budgets b on b.id = l.budget_id
        where b.tenant_id = old.id) then
      raise exception 'has_money: tenant % has LLM calls on its books (reservations, refusals or ledger rows), which are kept; pause it instead: purser pause --tenant ID',
        quote_literal(old.id) using errcode = 'PU105';
    end if;
    exit when v_pass = 2;
    perform from public.llm_budgets b where b.tenant_id = old.id for update;
    perform from purser.in_flight f where f.tenant_id = old.id order by f.job_id for update;
    perform from public.llm_budget_periods p where p.tenant_id = old.id
    order by p.budget_id, p.period_start for update;
  end loop;
  return old;
end
$$;
create trigger keep_money before delete on public.tenants
  for each row execute function purser.keep_money_of_tenant();

-- The limits over time, so that each admission can be judged by the limit that it met. position is a number of the
-- sequence of the ledger's ids that is taken while the months of the tenant are locked, as an id of a movement is: rows
-- of the ledger with a smaller id came before the change, those with a larger one after it.
create table public.llm_limit_changes (
  position bigint primary key,
  at timestamptz not null default clock_timestamp(),
  tenant_id text not null,
  budget_id uuid,
  -- null: the tenant's month. kind, subject and period are those of the scope.
  scope_id bigint,
  kind text,
  subject text,
  period text,
  old_limit_usd numeric(18, 9),
  old_limit_calls bigint,
  limit_usd numeric(18, 9),
  limit_calls bigint,
  hard_limit boolean not null,
  -- The scope was removed.
  removed boolean not null default false,
  set_by text not null,
  constraint of_a_month_or_a_scope check ((budget_id is null) <> (scope_id is null))
);
create index ix_llm_limit_changes_tenant_id on public.llm_limit_changes (tenant_id);
create trigger append_only before update or delete or truncate on public.llm_limit_changes
  for each statement execute function purser.refuse_change();

-- What was admitted before this migration is not judged.
insert into public.llm_limit_changes (position, tenant_id, budget_id, limit_usd, hard_limit, set_by)
select nextval('public.llm_ledger_id_seq'), b.tenant_id, b.id, b.monthly_limit_usd, b.hard_limit, b.limit_source
from public.llm_budgets b;
insert into public.llm_limit_changes
  (position, tenant_id, scope_id, kind, subject, period, limit_usd, limit_calls, hard_limit, set_by)
select nextval('public.llm_ledger_id_seq'), s.tenant_id, s.id, s.kind, s.subject, s.period, s.limit_usd, s.limit_calls,
  s.hard_limit, s.set_by
from public.llm_scopes s;

-- A change by whatever statement locks the months before it takes its position, if its caller has not.
create function purser.record_budget_limit() returns trigger language plpgsql security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  if tg_op = 'UPDATE' then
    perform purser.lock_months(new.tenant_id, clock_timestamp());
  end if;
  insert into public.llm_limit_changes (position, tenant_id, budget_id, old_limit_usd, limit_usd, hard_limit, set_by)
  values (nextval('public.llm_ledger_id_seq'), new.tenant_id, new.id,
    case when tg_op = 'UPDATE' then old.monthly_limit_usd end, new.monthly_limit_usd, new.hard_limit, new.limit_source);
  return null;
end
$$;
create trigger record_first_limit after insert on public.llm_budgets
  for each row execute function purser.record_budget_limit();
create trigger record_limit after update on public.llm_budgets
  for each row when ((old.monthly_limit_usd, old.hard_limit) is distinct from (new.monthly_limit_usd, new.hard_limit))
  execute function purser.record_budget_limit();

create function purser.record_scope_limit() returns trigger language plpgsql security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  if tg_op = 'DELETE' then
    insert into public.llm_limit_changes (position, tenant_id, scope_id, kind, subject, period, old_limit_usd,
      old_limit_calls, hard_limit, removed, set_by)
    values (nextval('public.llm_ledger_id_seq'), old.tenant_id, old.id, old.kind, old.subject, old.period, old.limit_usd,
      old.limit_calls, old.hard_limit, true, old.set_by);
    return null;
  end if;
  perform purser.lock_months(new.tenant_id, clock_timestamp());
  insert into public.llm_limit_changes (position, tenant_id, scope_id, kind, subject, period, old_limit_usd,
    old_limit_calls, limit_usd, limit_calls, hard_limit, set_by)
  values (nextval('public.llm_ledger_id_seq'), new.tenant_id, new.id, new.kind, new.subject, new.period,
    case when tg_op = 'UPDATE' then old.limit_usd end, case when tg_op = 'UPDATE' then old.limit_calls end,
    new.limit_usd, new.limit_calls, new.hard_limit, new.set_by);
  return null;
end
$$;
create trigger record_limit after insert or delete on public.llm_scopes
  for each row execute function purser.record_scope_limit();
create trigger record_changed_limit after update on public.llm_scopes
  for each row when ((old.limit_usd, old.limit_calls, old.hard_limit)
    is distinct from (new.limit_usd, new.limit_calls, new.hard_limit))
  execute function purser.record_scope_limit();

-- null: from before this migration.
alter table public.llm_top_ups add column position bigint;
create function purser.place_top_up() returns trigger language plpgsql security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  new.position := nextval('public.llm_ledger_id_seq');
  return new;
end
$$;
create trigger place_top_up before insert on public.llm_top_ups
  for each row execute function purser.place_top_up();

-- As before, under the locks of the months, which are taken before that of the budget as everywhere: a reserve that has
-- read the limit of the plan before ends first.
create or replace function purser.budget_follows_plan() returns trigger language plpgsql as $$
begin
  if exists (select from public.llm_budgets b where b.tenant_id = new.id and b.limit_source = 'plan') then
    perform purser.lock_months(new.id, clock_timestamp());
    update public.llm_budgets b
    set monthly_limit_usd = pl.monthly_limit_usd, updated_at = now()
    from public.plans pl
    where pl.plan = new.plan and b.tenant_id = new.id and b.limit_source = 'plan';
  end if;
  return null;
end
$$;

-- A month is closed by a checkpoint: the sums of its ledger up to a position, taken under the lock of the month. What
-- moves later (a late settlement, an adjustment) is rows behind that position; it opens the month again, and the next
-- checkpoint adds them to the last one. The periods of scopes have none: they are a cache through the pins.
create table public.llm_period_checkpoints (
  budget_id uuid not null,
  period_start date not null,
  -- All rows of the month up to this id are in the sums.
  position bigint not null,
  tenant_id text not null,
  at timestamptz not null default clock_timestamp(),
  reserved_usd numeric(18, 9) not null,
  spent_usd numeric(18, 9) not null,
  unknown_usd numeric(18, 9) not null,
  -- Of calls that count apart.
  own_reserved_usd numeric(18, 9) not null,
  own_spent_usd numeric(18, 9) not null,
  own_unknown_usd numeric(18, 9) not null,
  available_usd numeric(18, 9) not null,
  entries bigint not null,
  last_entry_id bigint,
  settled_calls bigint not null,
  released_calls bigint not null,
  unknown_calls bigint not null,
  -- SHA-256 of the digest of the checkpoint before and of the rows since.
  digest text not null,
  set_by text not null,
  primary key (budget_id, period_start, position),
  constraint balances_sum_to_zero check (reserved_usd + spent_usd + unknown_usd
    + own_reserved_usd + own_spent_usd + own_unknown_usd + available_usd = 0)
);
create index ix_llm_period_checkpoints_tenant_id on public.llm_period_checkpoints (tenant_id);
create trigger append_only before update or delete or truncate on public.llm_period_checkpoints
  for each statement execute function purser.refuse_change();

alter table public.llm_budget_periods add column closed_at timestamptz;
create index ix_llm_budget_periods_open on public.llm_budget_periods (period_start) where closed_at is null;
drop index public.ix_llm_ledger_budget_id;
create index ix_llm_ledger_budget_id on public.llm_ledger (budget_id, period_start, id);

create function purser.reopen_month() returns trigger language plpgsql as $$
begin
  update public.llm_budget_periods p set closed_at = null
  where p.budget_id = new.budget_id and p.period_start = new.period_start;
  return null;
end
$$;
create trigger reopen_month after update on public.llm_budget_periods
  for each row when (old.closed_at is not null and new.closed_at is not null) execute function purser.reopen_month();

create function purser.ledger_digest(p_before text, p_rows bytea) returns text language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
  select encode(sha256(convert_to(coalesce(p_before, ''), 'UTF8') || coalesce(p_rows, '')), 'hex')
$$;

create function purser.ledger_row_digest(p_row public.llm_ledger) returns bytea language sql stable
set search_path = pg_catalog, pg_temp as $$
  select sha256(convert_to(concat_ws(' ', p_row.id, p_row.reservation_id, p_row.event, p_row.reserved_delta_usd,
    p_row.spent_delta_usd, p_row.unknown_delta_usd, p_row.available_delta_usd, p_row.tenant_id, p_row.counts_apart), 'UTF8'))
$$;

-- Closes at most p_limit months that have ended before p_before, or the month p_month alone, and that have no hold.
-- Months that another transaction has locked are left for the next call, so one of two callers closes each.
create function purser.close_months(p_month date, p_before date, p_limit integer, p_by text) returns integer
language plpgsql volatile as $$
declare
  v_month public.llm_budget_periods;
  v_last public.llm_period_checkpoints;
  v_position bigint;
  v_closed integer := 0;
begin
  for v_month in
    select p.* from public.llm_budget_periods p
    where p.closed_at is null and p.holds = 0 and p.period_start < p_before
      and (p_month is null or p.period_start = p_month)
    order by p.period_start, p.budget_id limit p_limit for no key update skip locked
  loop
    select c.* into v_last from public.llm_period_checkpoints c
    where c.budget_id = v_month.budget_id and c.period_start = v_month.period_start order by c.position desc limit 1;
    v_position := purser.ledger_position();
    insert into public.llm_period_checkpoints (budget_id, period_start, position, tenant_id, reserved_usd, spent_usd,
      unknown_usd, own_reserved_usd, own_spent_usd, own_unknown_usd, available_usd, entries, last_entry_id, settled_calls, released_calls, unknown_calls, digest, set_by)
    select v_month.budget_id, v_month.period_start, v_position, v_month.tenant_id,
      coalesce(v_last.reserved_usd, 0) + l.reserved, coalesce(v_last.spent_usd, 0) + l.spent,
      coalesce(v_last.unknown_usd, 0) + l.unknown, coalesce(v_last.own_reserved_usd, 0) + l.own_reserved,
      coalesce(v_last.own_spent_usd, 0) + l.own_spent, coalesce(v_last.own_unknown_usd, 0) + l.own_unknown,
      coalesce(v_last.available_usd, 0) + l.available,
      coalesce(v_last.entries, 0) + l.entries, coalesce(l.last_id, v_last.last_entry_id),
      r.settled, r.released, r.unknown, purser.ledger_digest(v_last.digest, l.digests), p_by
    from (
      select coalesce(sum(l.reserved_delta_usd) filter (where not l.counts_apart), 0) as reserved,
        coalesce(sum(l.spent_delta_usd) filter (where not l.counts_apart), 0) as spent,
        coalesce(sum(l.unknown_delta_usd) filter (where not l.counts_apart), 0) as unknown,
        coalesce(sum(l.reserved_delta_usd) filter (where l.counts_apart), 0) as own_reserved,
        coalesce(sum(l.spent_delta_usd) filter (where l.counts_apart), 0) as own_spent,
        coalesce(sum(l.unknown_delta_usd) filter (where l.counts_apart), 0) as own_unknown,
        coalesce(sum(l.available_delta_usd), 0) as available,
        count(*) as entries, max(l.id) as last_id, string_agg(purser.ledger_row_digest(l), '' order by l.id) as digests
      from public.llm_ledger l
      where l.budget_id = v_month.budget_id and l.period_start = v_month.period_start
        and l.id > coalesce(v_last.position, 0)
    ) l
    cross join (
      select count(*) filter (where r.status = 'APPLIED') as settled,
        count(*) filter (where r.status = 'RELEASED') as released,
        count(*) filter (where r.status = 'UNKNOWN') as unknown
      from public.llm_reservations r
      where r.budget_id = v_month.budget_id and r.period_start = v_month.period_start
    ) r;
    update public.llm_budget_periods p set closed_at = clock_timestamp()
    where p.budget_id = v_month.budget_id and p.period_start = v_month.period_start;
    v_closed := v_closed + 1;
  end loop;
  return v_closed;
end
$$;

-- A place in the ledger, for the caller that holds the lock of a month.
create function purser.ledger_position() returns bigint language sql volatile security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
  select nextval('public.llm_ledger_id_seq')
$$;

-- The largest id up to which every row of the ledger is behind a checkpoint, or of a budget that was deleted before
-- deletes were refused: retention may drop the rows up to it, and verify begins after it. 0 without any checkpoint.
create function purser.checkpointed_ledger_id() returns bigint language plpgsql stable as $$
declare
  v_first bigint;
begin
  if not exists (select from public.llm_period_checkpoints) then
    return 0;
  end if;
  select min(l.id) into v_first
  from public.llm_budget_periods p
  cross join lateral (select max(c.position) as position from public.llm_period_checkpoints c
    where c.budget_id = p.budget_id and c.period_start = p.period_start) c
  cross join lateral (select l.id from public.llm_ledger l
    where l.budget_id = p.budget_id and l.period_start = p.period_start and l.id > coalesce(c.position, 0)
    order by l.id limit 1) l
  where p.closed_at is null;
  return coalesce(v_first - 1, (select max(l.id) from public.llm_ledger l), 0);
end
$$;

select purser.protect_table('public.llm_limit_changes', '');
select purser.protect_table('public.llm_period_checkpoints', '');
