select purser.forget_table('public.operator_acts');
drop table public.operator_acts;
