drop function purser.apply_tenancy(boolean);
alter function purser.put_policies(boolean) rename to apply_tenancy;
drop function purser.hide_statistics();
