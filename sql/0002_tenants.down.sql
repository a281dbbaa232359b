drop function purser.cohort_of(text, timestamptz, timestamptz);
select purser.forget_table('public.tenants');
drop table public.tenants;
drop table public.plans;
