drop function purser.claim_schedules(jsonb, timestamptz, integer, text);
drop function purser.dispatch_jobs(text[], integer[], text[], text);
drop function purser.finish_attempts(jsonb, integer);
drop function purser.begin_attempts(bigint[], integer[], uuid[], text, interval);
