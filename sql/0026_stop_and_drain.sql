-- Two acts of operators that end work where it is. A stop is a pause under which what is in flight goes back to waiting as
-- well, and its row is all there is of it: workers read it with the leases that they renew, and the sweep returns what is
-- queued under it, so that no crash loses the stop and removing the row ends it. A drain is a wish in the row of a
-- worker's heartbeat, which the worker reads with each beat.

alter table public.pauses add column stops boolean not null default false;

-- Returns queued jobs under a stop to waiting, p_limit at most. Returns their number.
create function purser.return_stopped(p_limit integer) returns integer
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set lock_timeout = '2s' set jit = off
as $$
declare
  v_jobs bigint[];
  v_entries uuid[];
begin
  if not exists (select from public.pauses p where p.stops) then
    return 0;
  end if;
  select array_agg(q.job_id), array_agg(q.entry_id) into v_jobs, v_entries from (
    select f.job_id, f.entry_id from purser.in_flight f
    where f.token is null and exists (
      select from public.pauses p
      where p.stops and (p.scope = 'all' or p.scope = 'job_type' and p.name = f.job_type
        or p.scope = 'tenant' and p.name = f.tenant_id))
    order by f.job_id limit p_limit for update of f skip locked) q;
  return purser.return_jobs(v_jobs, v_entries, 'stopped');
end
$$;

-- Ends jobs of a target that have not begun, as cancelled: those with ids after p_after, up to p_upto and not among
-- p_spared, in the order of ids, p_limit at most. Rows that another transaction has locked are left out. `last_id` is the
-- last one that it looked at; null: there are no more.
create function purser.discard_waiting(
  p_scope text, p_name text, p_after bigint, p_upto bigint, p_spared bigint[], p_limit integer, p_by text,
  p_reason text)
returns table (ended bigint[], last_id bigint)
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set lock_timeout = '2s' set jit = off
as $$
declare
  v_found bigint[];
  v_unlocked bigint[];
begin
  with due as (
    select s.job_id from purser.waiting s
    where s.job_id > p_after and s.job_id <= p_upto and s.job_id <> all(p_spared)
      and (p_scope = 'all' or p_scope = 'job_type' and s.job_type = p_name or p_scope = 'tenant' and s.tenant_id = p_name)
    order by s.job_id limit p_limit for update skip locked
  ), postponed as (
    select s.job_id from purser.later s
    where s.job_id > p_after and s.job_id <= p_upto and s.job_id <> all(p_spared)
      and (p_scope = 'all' or p_scope = 'job_type' and s.job_type = p_name or p_scope = 'tenant' and s.tenant_id = p_name)
    order by s.job_id limit p_limit for update skip locked
  ), parked as (
    select s.job_id from purser.parked s
    where s.job_id > p_after and s.job_id <= p_upto and s.job_id <> all(p_spared)
      and (p_scope = 'all' or p_scope = 'job_type' and s.job_type = p_name or p_scope = 'tenant' and s.tenant_id = p_name)
    order by s.job_id limit p_limit for update skip locked
  ), queued as (
    select s.job_id from purser.in_flight s
    where s.token is null and s.job_id > p_after and s.job_id <= p_upto and s.job_id <> all(p_spared)
      and (p_scope = 'all' or p_scope = 'job_type' and s.job_type = p_name or p_scope = 'tenant' and s.tenant_id = p_name)
    order by s.job_id limit p_limit for update skip locked
  )
  select array_agg(c.job_id order by c.job_id) into v_found from (
    select job_id from due union all select job_id from postponed union all select job_id from parked
    union all select job_id from queued order by job_id limit p_limit) c;
  -- A job whose row is locked, by a rotation of its payload, would hold up the others.
  select array_agg(l.id order by l.id) into v_unlocked from (
    select j.id from public.jobs j where j.id = any(v_found) order by j.id for no key update skip locked) l;
  ended := array(
    select e from purser.end_waiting(coalesce(v_unlocked, '{}'), 'cancelled',
      jsonb_build_object('by', p_by, 'reason', p_reason)) e order by e);
  last_id := v_found[cardinality(v_found)];
  return next;
end
$$;

alter table public.heartbeats
  -- An operator's wish: {by, reason, at}. The worker takes no new jobs until it is withdrawn.
  add column drain_requested jsonb,
  -- What the worker says of it: it still has jobs, or none and takes none.
  add column drain_state text check (drain_state in ('draining', 'empty'));
