-- The functions as 0003 and 0004 made them.
create or replace function purser.forget_jobs() returns trigger
language plpgsql set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  -- Again where a job went back to a table that was looked at before.
  loop
    delete from purser.waiting s using old_rows o where s.job_id = o.id;
    delete from purser.later s using old_rows o where s.job_id = o.id;
    delete from purser.parked s using old_rows o where s.job_id = o.id;
    delete from purser.in_flight s using old_rows o where s.job_id = o.id;
    exit when not exists (
      select from old_rows o where exists (select from purser.waiting s where s.job_id = o.id)
        or exists (select from purser.later s where s.job_id = o.id)
        or exists (select from purser.parked s where s.job_id = o.id)
        or exists (select from purser.in_flight s where s.job_id = o.id));
  end loop;
  delete from purser.dead_letters s using old_rows o where s.job_id = o.id;
  delete from purser.job_history h using old_rows o where h.job_id = o.id;
  insert into purser.job_counts (job_type, outcome, jobs)
  select o.job_type, o.outcome, -count(*) from old_rows o where o.outcome is not null group by 1, 2;
  return null;
end
$$;

create or replace function purser.finish_attempts(
  p_requests jsonb, p_crashes_of_suspect integer, p_skip_locked boolean default false)
returns table (job_id bigint, result text)
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set lock_timeout = '200ms' set jit = off
as $$
#variable_conflict use_column
declare
  v_unlocked bigint[];
  v_applied bigint[];
  -- Of those that wait again.
  v_due_at timestamptz;
begin
  if p_skip_locked then
    select purser.lock_attempts(array_agg(r.job_id), array_agg(r.token)) into v_unlocked
    from jsonb_to_recordset(p_requests) as r (job_id bigint, token uuid);
  end if;
  with request as materialized (
    select * from jsonb_to_recordset(p_requests) as r (
      job_id bigint, token uuid, to_state text, result jsonb, error jsonb, scheduled_for timestamptz, after_ms float8,
      counts boolean, detail jsonb, needed_usd numeric, suspect boolean, shared_loss int, isolated_loss int)
  ), gate as materialized (
    select r.job_id, r.token, r.result, r.error, r.counts, r.needed_usd, r.suspect as now_suspect, r.shared_loss,
      r.isolated_loss, nullif(r.detail, '{}') as detail, f.tenant_id, f.job_type, f.group_name, f.priority, f.attempt,
      f.attempt - case when r.counts then 0 else 1 end as attempt_after, f.payload_bytes, f.failed, f.losses,
      f.losses_alone, f.suspect, f.first_parked_at, f.last_error, f.queued_at, f.started_at, f.worker_id, f.give_up_at,
      f.limited,
      coalesce(r.scheduled_for, now() + r.after_ms * interval '1 millisecond', case when r.to_state = 'parked'
        then (date_trunc('month', now() at time zone 'utc') + interval '1 month') at time zone 'utc' end, f.scheduled_for)
        as scheduled_for,
      case when f.cancel_requested is not null and r.to_state in ('pending', 'failed', 'parked') then f.cancel_requested
        end as cancelled_by,
      case when f.cancel_requested is not null and r.to_state in ('pending', 'failed', 'parked') then 'cancelled'
        else r.to_state end as state
    from request r cross join lateral (
      select s.* from purser.in_flight s
      where s.job_id = r.job_id and s.token = r.token and (v_unlocked is null or s.job_id = any(v_unlocked))
      for update of s) f
  ), gone as (
    delete from purser.in_flight s using gate g where s.job_id between g.job_id and g.job_id
  ), ended as materialized (
    select g.*, case when g.cancelled_by is null then g.detail
        else jsonb_build_object('by', g.cancelled_by->'by', 'reason', g.cancelled_by->'reason') end as said,
      g.state in ('completed', 'dead_letter', 'cancelled') as is_over
    from gate g
  ), over as (
    update public.jobs j
    set outcome = e.state, result = e.result, error = coalesce(e.error, e.last_error), end_detail = e.said,
        attempt = e.attempt_after, scheduled_for = e.scheduled_for, queued_at = e.queued_at, started_at = e.started_at,
        finished_at = clock_timestamp(),
        encryption_key_version = case when e.state = 'dead_letter' then j.encryption_key_version end
    from ended e where j.id between e.job_id and e.job_id and e.is_over
  ), dead as (
    insert into purser.dead_letters (job_id, tenant_id, finished_at)
    select e.job_id, e.tenant_id, clock_timestamp() from ended e where e.state = 'dead_letter'
  ), counted as (
    insert into purser.job_counts (job_type, outcome, jobs)
    select e.job_type, e.state, count(*) from ended e where e.is_over group by e.job_type, e.state
  ), open as materialized (
    select e.job_id, e.tenant_id, e.job_type, e.group_name, e.priority, e.scheduled_for,
      -- A parked job may wait for two budget periods, counted from the first parking. Running time is no waiting time.
      case when e.state = 'parked' then greatest(e.give_up_at, coalesce(e.first_parked_at, now()) + interval '62 days')
        else e.give_up_at + (clock_timestamp() - e.started_at) end as give_up_at,
      e.attempt_after, e.payload_bytes, e.state,
      case when e.now_suspect is false then 0 else e.losses + e.shared_loss end as losses,
      case when e.now_suspect is false then 0 else e.losses_alone + e.isolated_loss end as losses_alone,
      coalesce(e.now_suspect, e.suspect or e.shared_loss = 1 and e.losses + 1 >= p_crashes_of_suspect) as suspect,
      e.needed_usd, case when e.state = 'parked' then coalesce(e.first_parked_at, now()) else e.first_parked_at end
        as first_parked_at, coalesce(e.said, '{}') as said, coalesce(e.error, e.last_error) as last_error
    from ended e where not e.is_over
  ), due as (
    insert into purser.waiting
    select o.job_id, o.tenant_id, o.job_type, o.group_name, o.priority, o.scheduled_for, o.give_up_at, o.attempt_after,
      o.payload_bytes, o.state = 'failed', o.losses, o.losses_alone, o.suspect, o.needed_usd, o.first_parked_at,
      o.said, o.last_error
    from open o where o.state in ('pending', 'failed') and o.scheduled_for <= now()
  ), postponed as (
    insert into purser.later
    select o.job_id, o.tenant_id, o.job_type, o.group_name, o.priority, o.scheduled_for, o.give_up_at, o.attempt_after,
      o.payload_bytes, o.state = 'failed', o.losses, o.losses_alone, o.suspect, o.needed_usd, o.first_parked_at,
      o.said, o.last_error
    from open o where o.state in ('pending', 'failed') and o.scheduled_for > now()
  ), parked as (
    insert into purser.parked
    select o.job_id, o.tenant_id, o.job_type, o.group_name, o.priority, o.scheduled_for, o.give_up_at, o.attempt_after,
      o.payload_bytes, false, o.losses, o.losses_alone, o.suspect, o.needed_usd, o.first_parked_at,
      o.said, o.last_error
    from open o where o.state = 'parked'
  ), recorded as (
    insert into purser.job_history (job_id, tenant_id, to_state, attempt, counted, retried, queued_at, started_at,
      worker_id, token, error_code, detail)
    select e.job_id, e.tenant_id, e.state, e.attempt, e.counts, e.failed, e.queued_at, e.started_at, e.worker_id, e.token,
      e.error->>'code', e.said
    from ended e
  )
  -- Where it counted for a limit, another job may start.
  select array_agg(e.job_id), min(case when e.limited then now() when e.state in ('pending', 'failed') then e.scheduled_for end)
  into v_applied, v_due_at from ended e;
  perform purser.wake_dispatcher(v_due_at);
  return query select a.id, 'applied' from unnest(v_applied) a (id);
  if coalesce(cardinality(v_applied), 0) < jsonb_array_length(p_requests) then
    -- A snapshot of its own: a call that waited for another end of the same attempt sees it here.
    return query
    select r.job_id, coalesce(h.answer, l.answer)
    from jsonb_to_recordset(p_requests) as r (job_id bigint, token uuid) left join lateral (
      select 'repeated' as answer from purser.job_history e where e.job_id = r.job_id and e.token = r.token limit 1) h
      on true
    left join lateral (
      select 'locked' as answer from purser.in_flight s where s.job_id = r.job_id and s.token = r.token) l on true
    where r.job_id <> all(coalesce(v_applied, '{}')) and coalesce(h.answer, l.answer) is not null;
  end if;
end
$$;

create or replace function purser.end_waiting(p_job_ids bigint[], p_outcome text, p_detail jsonb) returns setof bigint
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set jit = off
as $$
begin
  return query
  with due as (
    delete from purser.waiting s where s.job_id = any(p_job_ids) returning s.*
  ), postponed as (
    delete from purser.later s where s.job_id = any(p_job_ids) returning s.*
  ), parked as (
    delete from purser.parked s where s.job_id = any(p_job_ids) returning s.*
  ), queued as (
    delete from purser.in_flight s where s.job_id = any(p_job_ids) and s.token is null returning s.*
  ), gone as materialized (
    select s.job_id, s.tenant_id, s.job_type, s.attempt, s.scheduled_for, s.failed, s.last_error,
      null::timestamptz as queued_at, case when s.failed then 'failed' else 'pending' end as state
    from (select * from due union all select * from postponed) s
    union all
    select s.job_id, s.tenant_id, s.job_type, s.attempt, s.scheduled_for, s.failed, s.last_error, null, 'parked'
    from parked s
    union all
    select s.job_id, s.tenant_id, s.job_type, s.attempt, s.scheduled_for, s.failed, s.last_error, s.queued_at, 'queued'
    from queued s
  ), over as (
    update public.jobs j
    set outcome = p_outcome, end_detail = p_detail, attempt = g.attempt, scheduled_for = g.scheduled_for,
        queued_at = g.queued_at, finished_at = clock_timestamp(),
        encryption_key_version = case when p_outcome = 'dead_letter' then j.encryption_key_version end,
        error = case when p_outcome = 'dead_letter' then jsonb_build_object('code', 'expired',
            'message', format('waited in state %s for longer than giveUpAfter', g.state)) else g.last_error end
    from gone g where j.id between g.job_id and g.job_id
  ), dead as (
    insert into purser.dead_letters (job_id, tenant_id, finished_at)
    select g.job_id, g.tenant_id, clock_timestamp() from gone g where p_outcome = 'dead_letter'
  ), counted as (
    insert into purser.job_counts (job_type, outcome, jobs)
    select g.job_type, p_outcome, count(*) from gone g group by g.job_type
  ), recorded as (
    insert into purser.job_history (job_id, tenant_id, from_state, to_state, attempt, retried, queued_at, error_code,
      detail)
    select g.job_id, g.tenant_id, g.state, p_outcome, g.attempt, g.failed, g.queued_at,
      case when p_outcome = 'dead_letter' then 'expired' end, p_detail
    from gone g
  )
  select g.job_id from gone g;
  if exists (select from public.job_limits) then
    perform purser.wake_dispatcher(now());
  end if;
end
$$;

drop index purser.ix_job_history_rare_ends;
drop index public.ix_jobs_job_type;
drop index public.ix_jobs_created_at;
drop index public.ix_jobs_dedup_key;
drop index purser.ix_dead_letters_words;
drop index purser.ix_dead_letters_fingerprint;
drop index purser.ix_dead_letters_tenant_id;
alter table purser.dead_letters
  drop column job_type, drop column attempt, drop column error_code, drop column fingerprint, drop column ended_by,
  drop column words;
alter table purser.job_history drop column error;
select purser.forget_table('purser.failures');
drop table purser.failures;
drop function purser.words_query(text);
drop function purser.words_in(jsonb);
drop function purser.words_of(text);
drop function purser.ended_by(text);
drop function purser.fingerprint_of(text, text);
