select purser.forget_table('purser.tick_keys');
select purser.forget_table('public.tenant_schedules');
drop function purser.claim_schedules(jsonb, timestamptz, integer, text);
drop trigger tenant_created on public.tenants;
drop function purser.tenant_created();
drop table purser.tick_keys;
drop table public.schedules;
drop function purser.schedule_created();
drop table public.tenant_schedules;
