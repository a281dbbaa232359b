-- JSON that comes from outside is bounded in size, depth and shape wherever it is stored. A payload that is nested
-- some thousand levels deep cannot be sent to a handler; a result of 60 MB fills the table and every reader of it.

-- Fires for every statement that stores a payload: enqueue in all its forms, replay, a plain insert.
create function purser.check_payload() returns trigger
language plpgsql set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_too_deep constant jsonpath := 'strict $.**{100} ? (@.type() == "object" || @.type() == "array")';
begin
  if jsonb_typeof(new.payload) is distinct from 'object' then
    raise exception 'invalid_payload: the payload of % must be a JSON object', new.job_type using errcode = 'PU007';
  end if;
  if octet_length(new.payload::text) > 1048576 then
    raise exception 'payload_too_large: the payload of % has % bytes, at most 1048576 are taken', new.job_type,
      octet_length(new.payload::text) using errcode = 'PU005', hint = 'store the data and enqueue a reference to it';
  end if;
  -- A payload that is older than this check may still be encrypted anew.
  if tg_op = 'UPDATE' and jsonb_path_exists(old.payload, v_too_deep, '{}', true) then
    return new;
  end if;
  if jsonb_path_exists(new.payload, v_too_deep, '{}', true) then
    raise exception 'invalid_payload: the payload of % is nested more than 100 levels deep', new.job_type
      using errcode = 'PU007', hint = 'enqueue a flatter payload, or its JSON as a text';
  end if;
  return new;
end
$$;

create trigger check_payload before insert on public.background_jobs
  for each row execute function purser.check_payload();
create trigger check_new_payload before update of payload on public.background_jobs
  for each row when (new.payload is distinct from old.payload) execute function purser.check_payload();

-- As 0011_complete_attempt, but a result that is too large or nested too deep is replaced by a note, as for a result
-- that a handler returns.
create or replace function purser.complete_attempt(p_result jsonb) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_token uuid := purser.token_from_session();
  v_job_id bigint;
  v_bytes bigint := octet_length(p_result::text);
  v_result jsonb := case
    when v_bytes > 1048576 then jsonb_build_object('purser', 'result cut', 'reason', 'too large', 'bytes', v_bytes,
      'limitBytes', 1048576, 'start', left(p_result::text, 10000))
    when jsonb_path_exists(p_result, 'strict $.**{100} ? (@.type() == "object" || @.type() == "array")', '{}', true)
      then jsonb_build_object('purser', 'result not stored', 'reason', 'nested more than 100 levels deep')
    else p_result end;
begin
  delete from purser.context_tokens where token = v_token and job_id is not null returning job_id into v_job_id;
  if found then
    delete from purser.job_leases where job_id = v_job_id and token = v_token;
    update public.background_jobs
    set state = 'completed', result = v_result, state_detail = '{"by": "handler transaction"}', needed_usd = null,
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
