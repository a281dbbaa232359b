select purser.forget_table('purser.idempotency_keys');
drop table purser.idempotency_keys;
