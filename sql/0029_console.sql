-- What the console draws over 24 hours, in slots of five minutes: ends of jobs, failed attempts, spend, waits and the lag of
-- the schedules. The sweep writes it; no end of a job, no call and no claim writes more than before.

-- What is parked of a type, however much of other types is.
create index ix_parked_job_type on purser.parked (job_type, job_id);

-- A row that the sweep wrote; the others are differences that it has not added up yet. What was counted until now has no
-- time, and is in no slot.
alter table purser.job_counts add column added_up boolean not null default false;
update purser.job_counts set added_up = true;

create function purser.slot_of(p_at timestamptz) returns timestamptz language sql immutable parallel safe as $$
  select pg_catalog.date_bin('5 minutes', p_at, '2000-01-01 00:00:00+00')
$$;

-- Jobs that ended, by when the sweep counted them.
create table purser.job_ends (
  slot timestamptz not null,
  job_type text not null,
  outcome text not null,
  jobs bigint not null,
  primary key (slot, job_type, outcome)
);

create table purser.fleet_samples (
  slot timestamptz primary key,
  taken_at timestamptz not null default now(),
  -- The newest row of the ledger at the first sample of the slot: whatever was written after the slot has a higher id.
  ledger_id bigint,
  failed_attempts bigint not null default 0,
  spent_usd numeric(18, 9) not null default 0,
  -- The longest that a sample of the slot found.
  schedule_lag_ms bigint not null default 0
);

-- The longest that a due job of the type had waited for its begin, of all samples of the slot.
create table purser.type_waits (
  slot timestamptz not null,
  job_type text not null,
  wait_ms bigint not null,
  primary key (slot, job_type)
);

-- As in 0004_job_statements.sql; the differences are added to the slot as well. A negative one is of deleted jobs.
create or replace function purser.add_up_job_counts() returns void
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set lock_timeout = '2s'
as $$
begin
  with part as materialized (
    select c.ctid as place, c.job_type, c.outcome, c.jobs, c.added_up from purser.job_counts c for update skip locked
  ), gone as (
    delete from purser.job_counts c using part p where c.ctid = p.place
  ), ends as (
    insert into purser.job_ends as e (slot, job_type, outcome, jobs)
    select purser.slot_of(now()), p.job_type, p.outcome, sum(p.jobs) from part p
    where not p.added_up and p.jobs > 0 group by p.job_type, p.outcome order by p.job_type, p.outcome
    on conflict (slot, job_type, outcome) do update set jobs = e.jobs + excluded.jobs
  )
  insert into purser.job_counts (job_type, outcome, jobs, added_up)
  select p.job_type, p.outcome, sum(p.jobs), true from part p group by p.job_type, p.outcome having sum(p.jobs) <> 0;
end
$$;

-- Whether a sample is due, which is once a minute: then it is begun, and nobody else begins it.
create function purser.begin_sample() returns boolean
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set lock_timeout = '2s'
as $$
begin
  insert into purser.fleet_samples as s (slot, ledger_id)
  values (purser.slot_of(now()), (select coalesce(max(l.id), 0) from public.llm_ledger l))
  on conflict (slot) do update set taken_at = now(), ledger_id = coalesce(s.ledger_id, excluded.ledger_id)
    where s.taken_at < now() - interval '50 seconds';
  return found;
end
$$;

-- Stores a sample with the longest waits, in milliseconds by job type, and counts the failures and the spend of this slot
-- and of those before it that are not complete: a row may be committed after its slot has ended. Removes what is older
-- than two days.
create function purser.store_sample(p_waits jsonb) returns void
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set lock_timeout = '2s' set jit = off
as $$
declare
  v_slot constant timestamptz := purser.slot_of(now());
  -- The newest slot that had ended a whole slot ago, from which on it is counted again.
  v_from timestamptz;
  v_ledger_id bigint;
begin
  select s.slot, s.ledger_id into v_from, v_ledger_id from purser.fleet_samples s
  where s.slot < v_slot - interval '5 minutes' and s.ledger_id is not null order by s.slot desc limit 1;
  if v_from is null then
    select s.slot - interval '5 minutes', s.ledger_id into v_from, v_ledger_id from purser.fleet_samples s
    where s.ledger_id is not null order by s.slot limit 1;
  end if;
  v_from := greatest(v_from, v_slot - interval '1 day');
  insert into purser.fleet_samples as s (slot, failed_attempts, spent_usd)
  select c.slot, coalesce(sum(c.failures), 0), coalesce(sum(c.spent), 0) from (
    select purser.slot_of(f.at) as slot, count(*) as failures, 0 as spent from purser.failures f
    where f.at >= v_from + interval '5 minutes' group by 1
    union all
    select purser.slot_of(l.at), 0, sum(l.spent_delta_usd) from public.llm_ledger l
    where l.id > v_ledger_id and l.at >= v_from + interval '5 minutes' group by 1) c
  group by c.slot order by c.slot
  on conflict (slot) do update set failed_attempts = excluded.failed_attempts, spent_usd = excluded.spent_usd;
  update purser.fleet_samples s set schedule_lag_ms = greatest(s.schedule_lag_ms, purser.schedule_lag_ms())
  where s.slot = v_slot;
  insert into purser.type_waits as w (slot, job_type, wait_ms)
  select v_slot, t.key, t.value::bigint from jsonb_each_text(p_waits) t order by t.key
  on conflict (slot, job_type) do update set wait_ms = greatest(w.wait_ms, excluded.wait_ms);
  delete from purser.job_ends e where e.slot < now() - interval '2 days';
  delete from purser.type_waits w where w.slot < now() - interval '2 days';
  delete from purser.fleet_samples s where s.slot < now() - interval '2 days';
end
$$;

-- For how long the tick that is due for longest has not been claimed; 0 where none is due.
create function purser.schedule_lag_ms() returns bigint language sql stable as $$
  select coalesce(greatest(0,
    extract(epoch from pg_catalog.now() - (select min(s.next_due) from public.tenant_schedules s where s.enabled)) * 1000),
    0)::bigint
$$;

-- At level L1 everything is a tenant's that is not protected.
select purser.protect_table('purser.job_ends', '', 'job_type');
select purser.protect_table('purser.fleet_samples', '', 'slot');
select purser.protect_table('purser.type_waits', '', 'job_type');
