-- Concurrent enqueues of one process share a statement. It fails where a tenant is locked, and its requests are then
-- sent one by one: no tenant's enqueue waits for the lock of another.

create function purser.enqueue_gathered(p_requests jsonb)
returns table (place bigint, job_id bigint)
language plpgsql volatile security definer
set search_path = pg_catalog, public, purser, pg_temp
set lock_timeout = '200ms'
as $$
begin
  return query select m.place, m.job_id from purser.enqueue_many(p_requests) m;
end
$$;
