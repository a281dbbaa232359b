create or replace function purser.check_payload() returns trigger
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
