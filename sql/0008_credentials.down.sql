select purser.forget_table('public.api_integrations');
select purser.forget_table('public.aws_accounts');
drop table public.api_integrations;
drop table public.aws_accounts;
