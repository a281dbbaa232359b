-- What operators say and read: pauses, which dispatch obeys, and what handlers logged, beside their job.

create table public.pauses (
  scope text not null check (scope in ('all', 'job_type', 'tenant')),
  -- The job type or the tenant; empty for everything.
  name text not null,
  reason text not null check (reason <> ''),
  by text not null,
  at timestamptz not null default clock_timestamp(),
  -- A pause goes with what it pauses, and pauses nothing that is not there.
  job_type text generated always as (case when scope = 'job_type' then name end) stored
    references public.job_types (job_type) on delete cascade,
  tenant_id text generated always as (case when scope = 'tenant' then name end) stored
    references public.tenants (id) on delete cascade,
  primary key (scope, name),
  check ((scope = 'all') = (name = ''))
);

-- Line 501 says that there were more.
create table public.job_log_lines (
  job_id bigint not null references public.jobs (id) on delete cascade,
  line_no integer not null check (line_no between 1 and 501),
  tenant_id text not null,
  attempt integer not null,
  at timestamptz not null,
  level text not null,
  text text not null check (length(text) <= 2000),
  primary key (job_id, line_no)
);

select purser.protect_table('public.pauses', '');
select purser.protect_table('public.job_log_lines', '');
