-- Schedules: a cron expression per (job type, cohort), and one row per tenant and job type that says when
-- it is due next. A tick is named by its due instant in UTC before splay (its bucket).

create table public.schedules (
  job_type text not null references public.job_types (job_type),
  cohort text not null check (cohort in ('high_value', 'active', 'dormant')),
  cron text not null,
  zone text not null default 'UTC',
  splay_seconds integer not null default 0 check (splay_seconds >= 0),
  primary key (job_type, cohort)
);

create table public.tenant_schedules (
  tenant_id text not null references public.tenants (id) on delete cascade,
  job_type text not null references public.job_types (job_type),
  next_due timestamptz not null default now(),
  last_bucket timestamptz,
  enabled boolean not null default true,
  primary key (tenant_id, job_type)
);
create index ix_tenant_schedules_next_due on public.tenant_schedules (next_due) where enabled;

create or replace function purser.tenant_created() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  insert into public.tenant_queues (tenant_id) values (new.id) on conflict do nothing;
  insert into public.tenant_schedules (tenant_id, job_type)
  select distinct new.id, s.job_type from public.schedules s on conflict do nothing;
  return null;
end
$$;

-- A new schedule reaches the tenants that are already there.
create function purser.schedule_created() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  insert into public.tenant_schedules (tenant_id, job_type)
  select t.id, new.job_type from public.tenants t on conflict do nothing;
  return null;
end
$$;
create trigger schedule_created after insert on public.schedules
  for each row execute function purser.schedule_created();

select purser.protect_table('public.tenant_schedules', '');
