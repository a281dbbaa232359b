drop index purser.ix_job_leases_cancel_requested;
drop table public.job_log_lines;
drop table public.pauses;
select purser.forget_table('public.job_log_lines');
select purser.forget_table('public.pauses');
