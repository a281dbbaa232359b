alter table purser.job_leases drop column cancel_requested, drop column alone;
alter table public.background_jobs drop column losses_alone, drop column suspect;
