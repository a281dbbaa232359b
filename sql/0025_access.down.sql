select purser.forget_table('public.api_tokens');
select purser.forget_table('public.operator_sessions');
select purser.forget_table('public.operators');
drop table public.api_tokens;
drop table public.operator_sessions;
drop table public.operators;
