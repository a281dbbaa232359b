-- How many jobs of each type a worker runs at once: no more than it runs at all, and no more than the
-- handler allows. One number for each of job_types.

alter table public.heartbeats add column type_slots integer[] not null default '{}';
