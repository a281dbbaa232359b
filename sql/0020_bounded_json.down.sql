drop trigger check_new_payload on public.background_jobs;
drop trigger check_payload on public.background_jobs;
drop function purser.check_payload();

create or replace function purser.complete_attempt(p_result jsonb) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_token uuid := purser.token_from_session();
  v_job_id bigint;
begin
  delete from purser.context_tokens where token = v_token and job_id is not null returning job_id into v_job_id;
  if found then
    delete from purser.job_leases where job_id = v_job_id and token = v_token;
    update public.background_jobs
    set state = 'completed', result = p_result, state_detail = '{"by": "handler transaction"}', needed_usd = null,
        suspect = false, losses = 0, losses_alone = 0, lease_owner = null,
        give_up_at = give_up_at + (clock_timestamp() - started_at), finished_at = clock_timestamp()
    where id = v_job_id and attempt_token = v_token and state = 'running';
  end if;
  if not found then
    raise exception 'stale_token: this attempt ended or was taken over; nothing is completed, its effects are rolled back'
      using errcode = 'PU002';
  end if;
end
$$;
