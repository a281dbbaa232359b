-- Transactions of tenants that the sweep ended because of a lock: their attempt is told so, and it counts. Without
-- this the loss of the session looked like an outage, and the job took the same lock again, for ever.

-- Not logged: the rows matter for seconds.
create unlogged table purser.broken_locks (
  pid integer not null,
  xact_start timestamptz not null,
  -- For people: what the session held.
  lock text not null,
  broken_at timestamptz not null default now(),
  primary key (pid, xact_start)
);

-- The lock of a transaction of this server process that began at p_since (seconds since 1970) or later.
create function purser.broken_lock(p_pid integer, p_since numeric) returns text
language plpgsql stable security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  perform purser.current_tenant();
  return (
    select b.lock from purser.broken_locks b
    where b.pid = p_pid and extract(epoch from b.xact_start) >= p_since
    order by b.xact_start limit 1);
end
$$;
select purser.allow_tenant('purser.broken_lock(integer,numeric)');
