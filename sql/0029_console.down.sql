drop index purser.ix_parked_job_type;
select purser.forget_table('purser.job_ends');
select purser.forget_table('purser.fleet_samples');
select purser.forget_table('purser.type_waits');
drop function purser.store_sample(jsonb);
drop function purser.schedule_lag_ms();
drop function purser.begin_sample();

create or replace function purser.add_up_job_counts() returns void
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set lock_timeout = '2s'
as $$
begin
  with part as materialized (
    select c.ctid as place, c.job_type, c.outcome, c.jobs from purser.job_counts c for update skip locked
  ), gone as (
    delete from purser.job_counts c using part p where c.ctid = p.place
  )
  insert into purser.job_counts (job_type, outcome, jobs)
  select p.job_type, p.outcome, sum(p.jobs) from part p group by p.job_type, p.outcome having sum(p.jobs) <> 0;
end
$$;
drop table purser.type_waits;
drop table purser.fleet_samples;
drop table purser.job_ends;
drop function purser.slot_of(timestamptz);
alter table purser.job_counts drop column added_up;
