-- What a tenant's open transaction could hold up. The keys of ticks stand in a table of their own: with a child job a
-- tenant can insert any key into job_keys, and the claim of everybody's schedules would wait for that insert. And a
-- tenant does not choose when its upload was made or what state it is in: stale uploads are removed by both.

create table purser.tick_keys (
  tenant_id text not null references public.tenants (id) on delete cascade,
  job_type text not null,
  -- The time of the tick, before the tenant's splay.
  bucket timestamptz not null,
  job_id bigint not null,
  expires_at timestamptz not null,
  primary key (tenant_id, job_type, bucket)
);
create index ix_tick_keys_expires_at on purser.tick_keys (expires_at);

insert into purser.tick_keys (tenant_id, job_type, bucket, job_id, expires_at)
select s.tenant_id, s.job_type, s.last_bucket, k.job_id, k.expires_at
from public.tenant_schedules s join public.job_keys k on k.tenant_id = s.tenant_id and k.job_type = s.job_type
  and k.dedup_key = format('%s:%s:%s', s.tenant_id, s.job_type,
    to_char(s.last_bucket at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'));

create function purser.guard_upload() returns trigger
language plpgsql set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  if not purser.acts_for_tenant() then
    return new;
  end if;
  if tg_op = 'INSERT' then
    new.created_at := now();
    new.state := 'uploading';
  else
    new.created_at := old.created_at;
    if new.state <> old.state and (old.state, new.state) not in
        (('ready', 'ingested'), ('ready', 'failed'), ('ready', 'superseded')) then
      raise exception 'illegal_transition: a tenant may not set an upload from % to %', old.state, new.state
        using errcode = 'PU006';
    end if;
  end if;
  return new;
end
$$;
create trigger guard_upload before insert or update on public.ingest_uploads
  for each row execute function purser.guard_upload();

select purser.protect_table('purser.tick_keys', '');
select purser.allow_tenant('purser.guard_upload()');

-- What the clock of the process said when the heartbeat was written; beat_at is the database's.
alter table public.heartbeats add column process_clock_at timestamptz;
