alter table public.heartbeats drop column process_clock_at;
select purser.disallow_tenant('purser.guard_upload()');
select purser.forget_table('purser.tick_keys');
drop trigger guard_upload on public.ingest_uploads;
drop function purser.guard_upload();
insert into public.job_keys (tenant_id, job_type, dedup_key, job_id, expires_at)
select tenant_id, job_type, format('%s:%s:%s', tenant_id, job_type,
  to_char(bucket at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')), job_id, expires_at
from purser.tick_keys on conflict do nothing;
drop table purser.tick_keys;
