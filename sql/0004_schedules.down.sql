select purser.forget_table('public.tenant_schedules');
drop table public.schedules;
drop function purser.schedule_created();
drop table public.tenant_schedules;
create or replace function purser.tenant_created() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  insert into public.tenant_queues (tenant_id) values (new.id) on conflict do nothing;
  return null;
end
$$;
