select purser.forget_table('public.tenants');
drop function purser.cohort_of(text, timestamptz, timestamptz);
drop table public.tenants;
drop function purser.tenant_form(text);
drop table public.plans;
