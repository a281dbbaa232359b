select purser.disallow_tenant('purser.broken_lock(integer,numeric)');
drop function purser.broken_lock(integer, numeric);
drop table purser.broken_locks;
