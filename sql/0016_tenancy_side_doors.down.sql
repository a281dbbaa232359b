alter table public.background_jobs drop constraint scheduled_for_is_a_date;
drop function purser.apply_tenancy(boolean);
alter function purser.put_policies(boolean) rename to apply_tenancy;
drop function purser.hide_statistics();
