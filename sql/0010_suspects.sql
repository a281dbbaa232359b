-- What a worker's or a thread's death leaves behind: a suspect's next attempt runs alone, in a process of
-- its own, and only what dies alone is to blame.

alter table public.background_jobs
  add column suspect boolean not null default false,
  -- Deaths of the process that ran this job alone, since it last came to an end of its own.
  add column losses_alone integer not null default 0;

alter table purser.job_leases
  add column alone boolean not null default false,
  -- An operator's wish: {by, reason, at}. The worker that renews the lease obeys it.
  add column cancel_requested jsonb;
