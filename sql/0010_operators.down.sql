select purser.forget_table('public.job_log_lines');
select purser.forget_table('public.pauses');
drop table public.job_log_lines;
drop table public.pauses;
