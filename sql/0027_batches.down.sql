drop function purser.step_batch(integer);
drop function purser.undo_members(purser.batches, bigint[]);
drop function purser.execute_members(purser.batches, bigint[]);
drop function purser.undo_replay(bigint, bigint, jsonb);
drop function purser.relist_dead_letter(bigint);

create or replace function purser.replay_dead_letter(p_job_id bigint, p_operator text, p_source text) returns bigint
language plpgsql volatile set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_dead public.jobs;
  v_type public.job_types;
  v_id bigint;
begin
  select j.* into v_dead from public.jobs j
  where j.id = p_job_id and j.outcome = 'dead_letter' and j.discarded_at is null for no key update;
  if not found or exists (select from public.jobs j where j.replay_of = p_job_id) then
    return null;
  end if;
  perform from public.tenants t where t.id = v_dead.tenant_id for key share;
  select * into v_type from public.job_types t where t.job_type = v_dead.job_type;
  v_id := nextval('public.jobs_id_seq');
  perform purser.make_job(v_id, v_dead.tenant_id, v_type, v_dead.payload, null, now(), v_dead.priority,
    jsonb_build_object('replay_of', p_job_id::text, 'by', p_operator, 'source', p_source),
    v_dead.group_name, p_job_id);
  delete from purser.dead_letters d where d.job_id = p_job_id;
  return v_id;
exception when unique_violation then
  return null;
end
$$;

drop function purser.replay_job(bigint, jsonb, jsonb);
create or replace function purser.forget_jobs() returns trigger
language plpgsql set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  -- Again where a job went back to a table that was looked at before.
  loop
    delete from purser.waiting s using old_rows o where s.job_id = o.id;
    delete from purser.later s using old_rows o where s.job_id = o.id;
    delete from purser.parked s using old_rows o where s.job_id = o.id;
    delete from purser.in_flight s using old_rows o where s.job_id = o.id;
    exit when not exists (
      select from old_rows o where exists (select from purser.waiting s where s.job_id = o.id)
        or exists (select from purser.later s where s.job_id = o.id)
        or exists (select from purser.parked s where s.job_id = o.id)
        or exists (select from purser.in_flight s where s.job_id = o.id));
  end loop;
  delete from purser.dead_letters s using old_rows o where s.job_id = o.id;
  delete from purser.failures f using old_rows o where f.job_id = o.id;
  delete from purser.job_history h using old_rows o where h.job_id = o.id;
  insert into purser.job_counts (job_type, outcome, jobs)
  select o.job_type, o.outcome, -count(*) from old_rows o where o.outcome is not null group by 1, 2;
  return null;
end
$$;

select purser.forget_table('purser.batch_members');
select purser.forget_table('purser.batches');
drop table purser.batch_members;
drop table purser.batches;
drop function purser.count_lost_members();
