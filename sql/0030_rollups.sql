-- What LLM calls cost, added up by month, tenant, day, job type, model and key, so that a page of money reads thousands of
-- rows and not millions. The sums hold the rows of the ledger up to an id; what comes after it is read from the ledger in
-- the same snapshot. The sweep adds to them, and no statement of a call knows of them.

-- A cache of llm_ledger: no foreign keys, as the ledger has none. The day is that of the reservation, within the month
-- that its ledger rows name.
create table public.llm_spend_days (
  period_start date not null,
  tenant_id text not null,
  day date not null,
  -- Empty where the job or the reservation was deleted.
  job_type text not null,
  provider text not null,
  model text not null,
  provider_key text not null,
  counts_apart boolean not null,
  spent_usd numeric(24, 9) not null,
  held_usd numeric(24, 9) not null,
  unknown_usd numeric(24, 9) not null,
  calls bigint not null,
  settled_calls bigint not null,
  -- Holds of the settled calls.
  settled_hold_usd numeric(24, 9) not null,
  primary key (period_start, tenant_id, day, job_type, provider, model, provider_key, counts_apart)
) with (fillfactor = 80);
create index ix_llm_spend_days_tenant_id on public.llm_spend_days (tenant_id, period_start);

-- The same sums without the day, and without the tenant: of a month with many tenants, what most questions need.
create table public.llm_spend_months (
  period_start date not null,
  tenant_id text not null,
  job_type text not null,
  provider text not null,
  model text not null,
  provider_key text not null,
  counts_apart boolean not null,
  spent_usd numeric(24, 9) not null,
  held_usd numeric(24, 9) not null,
  unknown_usd numeric(24, 9) not null,
  calls bigint not null,
  settled_calls bigint not null,
  settled_hold_usd numeric(24, 9) not null,
  primary key (period_start, tenant_id, job_type, provider, model, provider_key, counts_apart)
) with (fillfactor = 80);
create index ix_llm_spend_months_tenant_id on public.llm_spend_months (tenant_id, period_start);
create table purser.llm_spend_totals (
  period_start date not null,
  day date not null,
  job_type text not null,
  provider text not null,
  model text not null,
  provider_key text not null,
  counts_apart boolean not null,
  spent_usd numeric(24, 9) not null,
  held_usd numeric(24, 9) not null,
  unknown_usd numeric(24, 9) not null,
  calls bigint not null,
  settled_calls bigint not null,
  settled_hold_usd numeric(24, 9) not null,
  primary key (period_start, day, job_type, provider, model, provider_key, counts_apart)
) with (fillfactor = 80);

-- One row: how far the sums are, and how far they may go next.
create table purser.llm_spend_position (
  one_row boolean primary key default true check (one_row),
  -- All rows of the ledger up to this id are in the sums, and no other.
  ledger_id bigint not null default 0,
  -- Where they may go next: no transaction that begins later gets an id up to this one.
  next_id bigint not null default 0,
  -- The transactions that had written to the ledger, or were about to, when next_id was read.
  open_transactions text[] not null default '{}'
);
insert into purser.llm_spend_position default values;

-- Each movement with what it adds to which sum.
create view public.llm_spend_moves with (security_invoker = true) as
select l.id, l.period_start, l.tenant_id,
  least(greatest((coalesce(r.created_at, l.at) at time zone 'UTC')::date, l.period_start),
    (l.period_start + interval '1 month - 1 day')::date) as day,
  coalesce(r.job_type, j.job_type, '') as job_type, coalesce(r.provider, '') as provider, coalesce(r.model, '') as model,
  coalesce(r.provider_key, case when l.counts_apart then 'own' else 'platform' end) as provider_key, l.counts_apart,
  l.spent_delta_usd as spent_usd, l.reserved_delta_usd as held_usd, l.unknown_delta_usd as unknown_usd,
  (l.event = 'reserve')::integer as calls, (l.event = 'settle')::integer as settled_calls,
  case l.event when 'settle' then coalesce(r.estimated_cost_usd, 0) else 0 end as settled_hold_usd
from public.llm_ledger l
left join public.llm_reservations r on r.id = l.reservation_id
left join public.jobs j on j.id = r.job_id and r.job_type is null;

-- Also ids of transactions that have not committed.
create function purser.last_ledger_id() returns bigint language sql volatile security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
  select coalesce(pg_sequence_last_value('public.llm_ledger_id_seq'), 0)
$$;

-- Transactions of this database that may have written to the ledger. Whoever inserts has this lock before it takes an
-- id, and keeps it until its commit can be seen. A prepared transaction has no name that stays, so it counts as open for
-- as long as there is one.
create function purser.ledger_writers() returns text[] language sql volatile
set search_path = pg_catalog, public, purser, pg_temp as $$
  select coalesce(array_agg(distinct case when l.pid is null then 'prepared' else l.virtualtransaction end), '{}')
  from pg_locks l
  where l.locktype = 'relation' and l.relation = 'public.llm_ledger'::regclass and l.mode = 'RowExclusiveLock' and l.granted
    and l.database = (select d.oid from pg_database d where d.datname = current_database())
$$;

-- Adds the next movements to the sums, p_limit ids at most, up to an id below which no transaction is open. Returns the
-- number of ids: less than p_limit says that there are no more for now. Of two callers one adds.
create function purser.add_up_spend(p_limit integer) returns bigint
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
-- A plan that reads reservations as a whole would be chosen for all numbers of ids, and be wrong for most.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_position purser.llm_spend_position;
  v_writers text[];
  v_upto bigint;
  v_next bigint;
begin
  -- Each statement needs a snapshot of its own: the sum is read after the writers have ended.
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'wrong_isolation: the sums of the ledger need READ COMMITTED' using errcode = 'PU102';
  end if;
  select p.* into v_position from purser.llm_spend_position p for update skip locked;
  if not found then
    return 0;
  end if;
  v_writers := purser.ledger_writers();
  if v_position.open_transactions && v_writers or 'prepared' = any (v_writers) then
    return 0;
  end if;
  v_upto := v_position.ledger_id;
  if v_position.next_id > v_position.ledger_id then
    v_upto := least(v_position.next_id, v_position.ledger_id + p_limit);
    with moved as materialized (
      select m.period_start, m.tenant_id, m.day, m.job_type, m.provider, m.model, m.provider_key, m.counts_apart,
        sum(m.spent_usd) as spent_usd, sum(m.held_usd) as held_usd, sum(m.unknown_usd) as unknown_usd, sum(m.calls) as calls,
        sum(m.settled_calls) as settled_calls, sum(m.settled_hold_usd) as settled_hold_usd
      from public.llm_spend_moves m
      where m.id > v_position.ledger_id and m.id <= v_upto
      group by 1, 2, 3, 4, 5, 6, 7, 8
    ), by_day as (
      insert into public.llm_spend_days as d (period_start, tenant_id, day, job_type, provider, model, provider_key,
        counts_apart, spent_usd, held_usd, unknown_usd, calls, settled_calls, settled_hold_usd)
      select m.* from moved m
      on conflict on constraint llm_spend_days_pkey do update
      set spent_usd = d.spent_usd + excluded.spent_usd, held_usd = d.held_usd + excluded.held_usd,
        unknown_usd = d.unknown_usd + excluded.unknown_usd, calls = d.calls + excluded.calls,
        settled_calls = d.settled_calls + excluded.settled_calls,
        settled_hold_usd = d.settled_hold_usd + excluded.settled_hold_usd
    ), by_month as (
      insert into public.llm_spend_months as d (period_start, tenant_id, job_type, provider, model, provider_key,
        counts_apart, spent_usd, held_usd, unknown_usd, calls, settled_calls, settled_hold_usd)
      select m.period_start, m.tenant_id, m.job_type, m.provider, m.model, m.provider_key, m.counts_apart,
        sum(m.spent_usd) as spent_usd, sum(m.held_usd) as held_usd, sum(m.unknown_usd) as unknown_usd, sum(m.calls) as calls,
        sum(m.settled_calls) as settled_calls, sum(m.settled_hold_usd) as settled_hold_usd
      from moved m group by 1, 2, 3, 4, 5, 6, 7
      on conflict on constraint llm_spend_months_pkey do update
      set spent_usd = d.spent_usd + excluded.spent_usd, held_usd = d.held_usd + excluded.held_usd,
        unknown_usd = d.unknown_usd + excluded.unknown_usd, calls = d.calls + excluded.calls,
        settled_calls = d.settled_calls + excluded.settled_calls,
        settled_hold_usd = d.settled_hold_usd + excluded.settled_hold_usd
    )
    insert into purser.llm_spend_totals as d (period_start, day, job_type, provider, model, provider_key, counts_apart,
      spent_usd, held_usd, unknown_usd, calls, settled_calls, settled_hold_usd)
    select m.period_start, m.day, m.job_type, m.provider, m.model, m.provider_key, m.counts_apart,
      sum(m.spent_usd) as spent_usd, sum(m.held_usd) as held_usd, sum(m.unknown_usd) as unknown_usd, sum(m.calls) as calls,
        sum(m.settled_calls) as settled_calls, sum(m.settled_hold_usd) as settled_hold_usd
    from moved m group by 1, 2, 3, 4, 5, 6, 7
    on conflict on constraint llm_spend_totals_pkey do update
    set spent_usd = d.spent_usd + excluded.spent_usd, held_usd = d.held_usd + excluded.held_usd,
        unknown_usd = d.unknown_usd + excluded.unknown_usd, calls = d.calls + excluded.calls,
        settled_calls = d.settled_calls + excluded.settled_calls,
        settled_hold_usd = d.settled_hold_usd + excluded.settled_hold_usd;
  end if;
  if v_upto = v_position.next_id then
    -- The id is read before the writers: who is none of them takes a later one.
    v_next := purser.last_ledger_id();
    v_writers := purser.ledger_writers();
    update purser.llm_spend_position p set ledger_id = v_upto, next_id = v_next, open_transactions = v_writers;
  else
    update purser.llm_spend_position p set ledger_id = v_upto;
  end if;
  return v_upto - v_position.ledger_id;
end
$$;

select purser.protect_table('public.llm_spend_days', '');
select purser.protect_table('public.llm_spend_months', '');
