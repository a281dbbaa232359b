-- Failures by cause: each failed attempt keeps its error, and has a fingerprint by which failures are grouped, counted and
-- found. What finish_attempts, end_waiting and forget_jobs (0003_jobs.sql, 0004_job_statements.sql) do otherwise is
-- unchanged, and the end of a successful attempt writes nothing more.

-- The fingerprint of a failure of this type: p_cause is the worker's, `version-hash` of code, message and top frame
-- (src/jobs/failures/fingerprint.ts). Version 0: of a failure from before there were fingerprints, by its code alone.
-- Without a search path of its own, so that the planner puts it into the statements.
create function purser.fingerprint_of(p_job_type text, p_cause text) returns text language sql immutable as $$
  select pg_catalog.split_part(p_cause, '-', 1) || '-' || pg_catalog.left(pg_catalog.md5(p_job_type || ' ' || p_cause), 16)
$$;

-- Why a job became a dead letter, of the reason in the detail of its end: fatal (it would fail again), exhausted (its
-- attempts, or crashes) or expired.
create function purser.ended_by(p_reason text) returns text language sql immutable as $$
  select case when p_reason in ('attempts exhausted', 'worker lost') then 'exhausted'
    when p_reason = 'expired' then 'expired' else 'fatal' end
$$;

-- The words of a text, for the search: runs of characters other than blanks and ASCII punctuation, in lower case, each
-- cut at 64 characters; of the first 1,000 characters.
create function purser.words_of(p_text text) returns text[]
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
  return array(
    select distinct left(w, 64) from regexp_split_to_table(lower(left(p_text, 1000)), '[\s!-/:-@\[-`{-~]+') w where w <> '');
end
$$;

-- Those of code and message of an error.
create function purser.words_in(p_error jsonb) returns tsvector
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
  return array_to_tsvector(purser.words_of(concat_ws(' ', p_error->>'code', p_error->>'message')));
end
$$;

-- What finds texts with all words of p_text, or with words that begin so; null where it has none.
create function purser.words_query(p_text text) returns tsquery
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
  return (select string_agg(quote_literal(w) || ':*', ' & ') from unnest(purser.words_of(p_text)) w)::tsquery;
end
$$;

-- One row per failed attempt, and per job that expired; it goes with its job.
create table purser.failures (
  job_id bigint not null,
  tenant_id text not null,
  job_type text not null,
  attempt integer not null,
  at timestamptz not null default clock_timestamp(),
  error_code text not null,
  fingerprint text not null,
  -- It made the job a dead letter; null: another attempt follows.
  ended_by text check (ended_by in ('fatal', 'exhausted', 'expired')),
  -- Of code and message.
  words tsvector not null
);
create index ix_failures_at on purser.failures (at desc);
create index ix_failures_fingerprint on purser.failures (fingerprint, at desc);
create index ix_failures_job_id on purser.failures (job_id);
-- Short lists of entries to be merged, because the end of an attempt waits while they are.
create index ix_failures_words on purser.failures using gin (words) with (gin_pending_list_limit = 256);

-- The error of an attempt: {code, message, stack, details}.
alter table purser.job_history add column error jsonb;
-- Jobs that ended so are few among the completed ones. Here, because an index of jobs on their outcome would be written
-- by every end.
create index ix_job_history_rare_ends on purser.job_history (to_state, job_id)
  where to_state in ('dead_letter', 'cancelled');

-- For lists of a type, of a key that is not in use any more, and of a time. No end of a job changes these columns.
create index ix_jobs_job_type on public.jobs (job_type, id);
create index ix_jobs_dedup_key on public.jobs (dedup_key) where dedup_key is not null;
create index ix_jobs_created_at on public.jobs using brin (created_at);

-- What dead letters are listed, grouped and filtered by.
alter table purser.dead_letters
  add column job_type text, add column attempt integer, add column error_code text, add column fingerprint text,
  add column ended_by text check (ended_by in ('fatal', 'exhausted', 'expired')), add column words tsvector;
update purser.dead_letters d
set job_type = j.job_type, attempt = j.attempt, error_code = j.error->>'code',
    fingerprint = purser.fingerprint_of(j.job_type, '0-' || coalesce(j.error->>'code', '')),
    ended_by = purser.ended_by(j.end_detail->>'reason'), words = purser.words_in(j.error)
from public.jobs j where j.id = d.job_id;
insert into purser.failures (job_id, tenant_id, job_type, attempt, at, error_code, fingerprint, ended_by, words)
select d.job_id, d.tenant_id, d.job_type, d.attempt, d.finished_at, coalesce(d.error_code, ''), d.fingerprint, d.ended_by, d.words
from purser.dead_letters d;
alter table purser.dead_letters alter column job_type set not null, alter column attempt set not null,
  alter column fingerprint set not null, alter column ended_by set not null, alter column words set not null;
create index ix_dead_letters_fingerprint on purser.dead_letters (fingerprint, finished_at desc, job_id desc);
create index ix_dead_letters_tenant_id on purser.dead_letters (tenant_id, finished_at desc, job_id desc);
-- Of their own: joined with failures, a search would be planned by what the planner takes a word's share to be.
create index ix_dead_letters_words on purser.dead_letters using gin (words) with (gin_pending_list_limit = 256);

-- Each failure of p_requests has its cause, of which the fingerprint is made, in `failure`.
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
      counts boolean, detail jsonb, needed_usd numeric, suspect boolean, shared_loss int, isolated_loss int,
      failure text)
  ), gate as materialized (
    select r.job_id, r.token, r.result, r.error, r.counts, r.needed_usd, r.suspect as now_suspect, r.shared_loss,
      r.isolated_loss, nullif(r.detail, '{}') as detail, f.tenant_id, f.job_type, f.group_name, f.priority, f.attempt,
      f.attempt - case when r.counts then 0 else 1 end as attempt_after, f.payload_bytes, f.failed, f.losses,
      f.losses_alone, f.suspect, f.first_parked_at, f.last_error, f.queued_at, f.started_at, f.worker_id, f.give_up_at,
      f.limited, purser.fingerprint_of(f.job_type, r.failure) as fingerprint,
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
    insert into purser.dead_letters (job_id, tenant_id, finished_at, job_type, attempt, error_code, fingerprint, ended_by, words)
    select e.job_id, e.tenant_id, clock_timestamp(), e.job_type, e.attempt_after,
      coalesce(e.error, e.last_error)->>'code',
      coalesce(e.fingerprint, purser.fingerprint_of(e.job_type, '0-' || coalesce(e.last_error->>'code', ''))),
      purser.ended_by(e.said->>'reason'), purser.words_in(coalesce(e.error, e.last_error))
    from ended e where e.state = 'dead_letter'
  ), failures as (
    insert into purser.failures (job_id, tenant_id, job_type, attempt, error_code, fingerprint, ended_by, words)
    select e.job_id, e.tenant_id, e.job_type, e.attempt, coalesce(e.error->>'code', ''), e.fingerprint,
      case when e.state = 'dead_letter' then purser.ended_by(e.said->>'reason') end,
      purser.words_in(e.error)
    from ended e where e.state in ('failed', 'dead_letter') and e.fingerprint is not null
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
      worker_id, token, error_code, fingerprint, error, detail)
    select e.job_id, e.tenant_id, e.state, e.attempt, e.counts, e.failed, e.queued_at, e.started_at, e.worker_id, e.token,
      e.error->>'code', e.fingerprint, e.error, e.said
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
  ), moved as (
    select s.job_id, s.tenant_id, s.job_type, s.attempt, s.scheduled_for, s.failed, s.last_error,
      null::timestamptz as queued_at, case when s.failed then 'failed' else 'pending' end as state
    from (select * from due union all select * from postponed) s
    union all
    select s.job_id, s.tenant_id, s.job_type, s.attempt, s.scheduled_for, s.failed, s.last_error, null, 'parked'
    from parked s
    union all
    select s.job_id, s.tenant_id, s.job_type, s.attempt, s.scheduled_for, s.failed, s.last_error, s.queued_at, 'queued'
    from queued s
  ), gone as materialized (
    select m.*,
      case when p_outcome = 'dead_letter' then purser.fingerprint_of(m.job_type, '1-expired ' || m.state) end as fingerprint,
      case when p_outcome = 'dead_letter' then jsonb_build_object('code', 'expired',
        'message', format('waited in state %s for longer than giveUpAfter', m.state)) else m.last_error end as error_after
    from moved m
  ), over as (
    update public.jobs j
    set outcome = p_outcome, end_detail = p_detail, attempt = g.attempt, scheduled_for = g.scheduled_for,
        queued_at = g.queued_at, finished_at = clock_timestamp(),
        encryption_key_version = case when p_outcome = 'dead_letter' then j.encryption_key_version end,
        error = g.error_after
    from gone g where j.id between g.job_id and g.job_id
  ), dead as (
    insert into purser.dead_letters (job_id, tenant_id, finished_at, job_type, attempt, error_code, fingerprint, ended_by, words)
    select x.job_id, x.tenant_id, clock_timestamp(), x.job_type, x.attempt, 'expired', x.fingerprint, 'expired',
      purser.words_in(x.error_after)
    from gone x where p_outcome = 'dead_letter'
  ), failures as (
    insert into purser.failures (job_id, tenant_id, job_type, attempt, error_code, fingerprint, ended_by, words)
    select x.job_id, x.tenant_id, x.job_type, x.attempt, 'expired', x.fingerprint, 'expired',
      purser.words_in(x.error_after)
    from gone x where p_outcome = 'dead_letter'
  ), counted as (
    insert into purser.job_counts (job_type, outcome, jobs)
    select g.job_type, p_outcome, count(*) from gone g group by g.job_type
  ), recorded as (
    insert into purser.job_history (job_id, tenant_id, from_state, to_state, attempt, retried, queued_at, error_code,
      fingerprint, error, detail)
    select g.job_id, g.tenant_id, g.state, p_outcome, g.attempt, g.failed, g.queued_at,
      case when p_outcome = 'dead_letter' then 'expired' end, g.fingerprint,
      case when p_outcome = 'dead_letter' then g.error_after end, p_detail
    from gone g
  )
  select g.job_id from gone g;
  if exists (select from public.job_limits) then
    perform purser.wake_dispatcher(now());
  end if;
end
$$;

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
  delete from purser.failures f using old_rows o where f.job_id = o.id;
  delete from purser.job_history h using old_rows o where h.job_id = o.id;
  insert into purser.job_counts (job_type, outcome, jobs)
  select o.job_type, o.outcome, -count(*) from old_rows o where o.outcome is not null group by 1, 2;
  return null;
end
$$;

select purser.protect_table('purser.failures', '');
