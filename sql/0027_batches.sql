-- Batches: one act on each of the jobs that a filter took when it was previewed. The members are rows, written by the
-- preview, so that a batch does not meet the failures of its own replays. Operators only write the state of a batch; the
-- schedulers execute it in short transactions, each under a lock of the row of the batch, so that no process that dies
-- stops one and no member is executed twice.

create table purser.batches (
  id bigint generated always as identity primary key,
  act text not null check (act in ('replay', 'discard', 'cancel')),
  -- As it was given, with the words that were looked for.
  filter jsonb not null,
  state text not null default 'previewed'
    check (state in ('previewed', 'running', 'stopped', 'completed', 'undoing', 'undone')),
  per_second integer check (per_second between 1 and 1000),
  members integer not null default 0 check (members >= 0),
  -- The filter took more jobs than a batch has.
  is_cut boolean not null default false,
  -- What was counted at the preview.
  figures jsonb not null default '{}',
  -- Members by state; the others are waiting.
  done integer not null default 0 check (done >= 0),
  skipped integer not null default 0 check (skipped >= 0),
  undone integer not null default 0 check (undone >= 0),
  -- Who previewed it, then who started it, then who undid it; as in public.operator_acts.
  by text not null,
  proof text not null check (proof in ('session', 'token', 'environment', 'asserted')),
  host text,
  door text not null check (door in ('cli', 'api', 'console', 'board')),
  reason text check (length(reason) <= 500),
  created_at timestamptz not null default clock_timestamp(),
  -- A preview that is not started until then is removed.
  expires_at timestamptz not null,
  started_at timestamptz,
  ended_at timestamptz,
  -- When the next member may be executed.
  next_at timestamptz not null default '-infinity',
  -- The member that was looked at last; 0: begin with the first one.
  last_job_id bigint not null default 0,
  constraint started_has_a_pace check (state = 'previewed' or per_second is not null and started_at is not null),
  constraint ended_iff_over check ((ended_at is not null) = (state in ('completed', 'undone'))),
  constraint members_are_counted check (done + skipped + undone <= members)
) with (fillfactor = 50);
create index ix_batches_active on purser.batches (next_at) where state in ('running', 'undoing');
create index ix_batches_expires_at on purser.batches (expires_at) where state = 'previewed';

create trigger check_names after insert or update of by on purser.batches
  for each row execute function purser.check_names('by', 'operator');

-- Goes with its job. No foreign key: its check would cost more than the row.
create table purser.batch_members (
  batch_id bigint not null,
  job_id bigint not null,
  tenant_id text not null,
  job_type text not null,
  state text not null default 'waiting' check (state in ('waiting', 'done', 'skipped', 'undone')),
  -- Of a skipped member; of one that is done: why it is not, or cannot be, undone.
  why text,
  -- Of a replay.
  new_job_id bigint,
  primary key (batch_id, job_id)
);
create index ix_batch_members_waiting on purser.batch_members (batch_id, job_id) where state = 'waiting';
create index ix_batch_members_job_id on purser.batch_members (job_id);

-- A member whose job was deleted is counted as skipped.
create function purser.count_lost_members() returns trigger
language plpgsql set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  update purser.batches b set skipped = b.skipped + l.members
  from (select o.batch_id, count(*)::integer as members from old_rows o where o.state = 'waiting' group by 1) l
  where b.id = l.batch_id;
  return null;
end
$$;
create trigger count_lost_members after delete on purser.batch_members
  referencing old table as old_rows for each statement execute function purser.count_lost_members();

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
  delete from purser.batch_members m using old_rows o where m.job_id = o.id;
  insert into purser.job_counts (job_type, outcome, jobs)
  select o.job_type, o.outcome, -count(*) from old_rows o where o.outcome is not null group by 1, 2;
  return null;
end
$$;

-- A new job like a dead letter or a cancelled job, with p_payload where it is given. Otherwise `fault` says why not.
create function purser.replay_job(
  p_job_id bigint, p_origin jsonb, p_payload jsonb default null, out new_job_id bigint, out fault text)
language plpgsql volatile set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_job public.jobs;
  v_type public.job_types;
begin
  select j.* into v_job from public.jobs j where j.id = p_job_id for no key update;
  if not found then
    fault := 'gone';
  elsif v_job.outcome is null or v_job.outcome = 'completed' then
    fault := 'not_ended';
  elsif v_job.discarded_at is not null then
    fault := 'discarded';
  elsif v_job.end_detail ? 'undone_replay_of' then
    fault := 'undone_replay';
  elsif exists (select from public.jobs j where j.replay_of = p_job_id) then
    fault := 'replayed';
  end if;
  if fault is not null then
    return;
  end if;
  perform from public.tenants t where t.id = v_job.tenant_id for key share;
  select * into v_type from public.job_types t where t.job_type = v_job.job_type;
  new_job_id := nextval('public.jobs_id_seq');
  perform purser.make_job(new_job_id, v_job.tenant_id, v_type, coalesce(p_payload, v_job.payload), null, now(),
    v_job.priority, p_origin || jsonb_build_object('replay_of', p_job_id::text), v_job.group_name, p_job_id);
  delete from purser.dead_letters d where d.job_id = p_job_id;
end
$$;

-- As before, of a cancelled job too.
create or replace function purser.replay_dead_letter(p_job_id bigint, p_operator text, p_source text) returns bigint
language plpgsql volatile set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  return (purser.replay_job(p_job_id, jsonb_build_object('by', p_operator, 'source', p_source))).new_job_id;
exception when unique_violation then
  return null;
end
$$;

-- Lists a dead letter that was replayed or discarded, as its end did.
create function purser.relist_dead_letter(p_job_id bigint) returns void
language plpgsql volatile set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  insert into purser.dead_letters (job_id, tenant_id, finished_at, job_type, attempt, error_code, fingerprint, ended_by, words)
  select j.id, j.tenant_id, j.finished_at, j.job_type, j.attempt, j.error->>'code',
    coalesce(f.fingerprint, purser.fingerprint_of(j.job_type, '0-' || coalesce(j.error->>'code', ''))),
    purser.ended_by(j.end_detail->>'reason'), purser.words_in(j.error)
  from public.jobs j left join lateral (
    select f.fingerprint from purser.failures f where f.job_id = j.id and f.ended_by is not null
    order by f.at desc limit 1) f on true
  where j.id = p_job_id and j.outcome = 'dead_letter' and j.discarded_at is null
  on conflict do nothing;
end
$$;

-- Ends the new job of a replay that has not begun, frees its original and lists it again. Returns `undone`; `begun`: it
-- has begun or ended; null: another transaction has locked one of the rows at this moment.
create function purser.undo_replay(p_job_id bigint, p_new_job_id bigint, p_detail jsonb) returns text
language plpgsql volatile set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_rows integer;
begin
  if not exists (select from public.jobs j where j.id = p_new_job_id and j.outcome is null)
      or exists (select from purser.job_history h where h.job_id = p_new_job_id and h.started_at is not null)
      or exists (select from purser.in_flight f where f.job_id = p_new_job_id and f.token is not null) then
    return 'begun';
  end if;
  -- Locked, it does not begin any more. It may have begun and gone back meanwhile, hence the second look below.
  perform from purser.waiting s where s.job_id = p_new_job_id for update skip locked;
  if not found then
    perform from purser.later s where s.job_id = p_new_job_id for update skip locked;
  end if;
  if not found then
    perform from purser.in_flight s where s.job_id = p_new_job_id and s.token is null for update skip locked;
  end if;
  if not found then
    return null;
  end if;
  if exists (select from purser.job_history h where h.job_id = p_new_job_id and h.started_at is not null) then
    return 'begun';
  end if;
  select count(*) into v_rows from (
    select from public.jobs j where j.id in (p_job_id, p_new_job_id) order by j.id for no key update skip locked) l;
  if v_rows < 2 then
    return null;
  end if;
  perform purser.end_waiting(array[p_new_job_id], 'cancelled',
    p_detail || jsonb_build_object('undone_replay_of', p_job_id::text));
  update public.jobs j set replay_of = null where j.id = p_new_job_id;
  perform purser.relist_dead_letter(p_job_id);
  return 'undone';
end
$$;

-- Executes members of a running batch, p_job_ids, whose jobs and tenants are locked. An error of one of them is told by
-- its row and does not end the others.
create function purser.execute_members(p_batch purser.batches, p_job_ids bigint[]) returns void
language plpgsql volatile set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_by constant text := to_jsonb(p_batch)->>'by';
  v_wish constant jsonb := jsonb_build_object('by', v_by, 'reason', p_batch.reason, 'batch', p_batch.id::text);
  v_id bigint;
  v_new bigint;
  v_fault text;
  v_waiting bigint[];
  v_cancelled bigint[];
  v_asked bigint[];
begin
  if p_batch.act = 'replay' then
    foreach v_id in array p_job_ids loop
      begin
        select r.new_job_id, r.fault into v_new, v_fault from purser.replay_job(v_id,
          jsonb_build_object('by', v_by, 'source', p_batch.door, 'batch', p_batch.id::text)) r;
      exception when others then
        if sqlstate !~ '^(22|23|P0|PU)' then
          raise;
        end if;
        v_new := null;
        -- Without its message, which may hold a value of the payload.
        v_fault := 'refused: SQLSTATE ' || sqlstate;
      end;
      update purser.batch_members m
      set state = case when v_new is null then 'skipped' else 'done' end, why = v_fault, new_job_id = v_new
      where m.batch_id = p_batch.id and m.job_id = v_id;
    end loop;
  elsif p_batch.act = 'discard' then
    with discarded as (
      update public.jobs j
      set discarded_at = now(), end_detail = coalesce(j.end_detail, '{}') || jsonb_build_object('discarded',
        v_wish || jsonb_build_object('source', p_batch.door))
      where j.id = any(p_job_ids) and j.outcome = 'dead_letter' and j.discarded_at is null
        and not exists (select from public.jobs r where r.replay_of = j.id)
      returning j.id
    ), listed as (
      delete from purser.dead_letters d using discarded j where d.job_id = j.id
    )
    update purser.batch_members m
    set state = case when d.id is null then 'skipped' else 'done' end,
      why = case when d.id is not null then null when exists (select from public.jobs r where r.replay_of = u.id)
        then 'replayed' else 'discarded' end
    from unnest(p_job_ids) u (id) left join discarded d on d.id = u.id
    where m.batch_id = p_batch.id and m.job_id = u.id;
  else
    select array_agg(w.job_id) into v_waiting from (
      select s.job_id from purser.waiting s where s.job_id = any(p_job_ids) for update skip locked) w;
    v_waiting := v_waiting || array(
      select s.job_id from purser.later s where s.job_id = any(p_job_ids) for update skip locked);
    v_waiting := v_waiting || array(
      select s.job_id from purser.parked s where s.job_id = any(p_job_ids) for update skip locked);
    v_waiting := v_waiting || array(
      select s.job_id from purser.in_flight s where s.job_id = any(p_job_ids) and s.token is null
      for update skip locked);
    v_cancelled := array(select e from purser.end_waiting(coalesce(v_waiting, '{}'), 'cancelled', v_wish) e);
    with attempt as (
      select f.job_id from purser.in_flight f where f.job_id = any(p_job_ids) and f.token is not null
      for update skip locked
    ), asked as (
      update purser.in_flight f
      set cancel_requested = coalesce(f.cancel_requested, v_wish || jsonb_build_object('at', now()))
      from attempt a where f.job_id = a.job_id
      returning f.job_id
    )
    select array_agg(a.job_id) into v_asked from asked a;
    -- Another state: it moves at this moment, and is met in a later step.
    update purser.batch_members m
    set state = case when j.outcome is not null and j.id <> all(v_cancelled) then 'skipped' else 'done' end,
      why = case when j.id = any(v_cancelled) then null when j.outcome is not null then 'ended' else 'requested' end
    from public.jobs j
    where j.id = any(p_job_ids) and m.batch_id = p_batch.id and m.job_id = j.id
      and (j.outcome is not null or j.id = any(coalesce(v_asked, '{}')));
  end if;
end
$$;

-- Undoes members that are done, p_job_ids, whose jobs are locked.
create function purser.undo_members(p_batch purser.batches, p_job_ids bigint[]) returns void
language plpgsql volatile set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_member record;
  v_answer text;
begin
  if p_batch.act = 'discard' then
    update public.jobs j set discarded_at = null, end_detail = j.end_detail - 'discarded'
    where j.id = any(p_job_ids) and j.end_detail->'discarded'->>'batch' = p_batch.id::text;
    perform purser.relist_dead_letter(j.id)
    from public.jobs j where j.id = any(p_job_ids) and j.discarded_at is null
      and not exists (select from public.jobs r where r.replay_of = j.id);
    update purser.batch_members m set state = 'undone' where m.batch_id = p_batch.id and m.job_id = any(p_job_ids);
    return;
  end if;
  for v_member in
    select m.job_id, m.new_job_id from purser.batch_members m
    where m.batch_id = p_batch.id and m.job_id = any(p_job_ids) order by m.job_id
  loop
    v_answer := purser.undo_replay(v_member.job_id, v_member.new_job_id,
      jsonb_build_object('by', to_jsonb(p_batch)->>'by', 'reason', p_batch.reason, 'batch', p_batch.id::text));
    update purser.batch_members m
    set state = case when v_answer = 'undone' then 'undone' else 'done' end,
      why = case when v_answer = 'begun' then 'begun' end
    where m.batch_id = p_batch.id and m.job_id = v_member.job_id and v_answer is not null;
  end loop;
end
$$;

-- One step of one batch: the members that its pace allows now, p_limit at most. The pace is kept in the row by the
-- server's clock, for all schedulers together; what was not used within a quarter of a second is lost, so that no window
-- of t seconds has more than (t + 0.25) times the pace and one. Rows that another transaction has locked are left for a
-- later step. A step that fails as a whole changes nothing and is tried again after a second, so that it holds up no other
-- batch; `fault` is its SQLSTATE. `step_batch_id` is null where no batch was due; `active`: there is one that runs or is
-- undone.
create function purser.step_batch(p_limit integer)
returns table (step_batch_id bigint, step_state text, changed integer, active boolean, fault text)
language plpgsql volatile
set search_path = pg_catalog, public, purser, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set lock_timeout = '2s' set jit = off
as $$
declare
  v_batch purser.batches;
  v_from timestamptz;
  v_allowed integer := p_limit;
  v_found bigint[];
  v_unlocked bigint[];
  v_done integer := 0;
  v_skipped integer := 0;
  v_undone integer := 0;
  v_last_id bigint;
  v_is_over boolean;
  v_now timestamptz;
begin
  changed := 0;
  select b.* into v_batch from purser.batches b
  where b.state in ('running', 'undoing') and b.next_at <= clock_timestamp()
  order by b.next_at limit 1 for update skip locked;
  if not found then
    active := exists (select from purser.batches b where b.state in ('running', 'undoing'));
    return next;
    return;
  end if;
  v_now := clock_timestamp();
  step_batch_id := v_batch.id;
  active := true;
  begin
    if v_batch.state = 'undoing' then
      with waiting as (
        select m.job_id from purser.batch_members m where m.batch_id = v_batch.id and m.state = 'waiting'
        order by m.job_id limit 100 * p_limit for update skip locked
      )
      update purser.batch_members m set state = 'undone'
      from waiting w where m.batch_id = v_batch.id and m.job_id = w.job_id;
      get diagnostics v_undone = row_count;
      if v_undone = 0 and v_batch.act <> 'cancel' then
        v_found := array(
          select m.job_id from purser.batch_members m
          where m.batch_id = v_batch.id and m.job_id > v_batch.last_job_id and m.state = 'done' and m.why is null
          order by m.job_id limit p_limit);
        v_unlocked := array(
          select l.id from (
            select j.id from public.jobs j where j.id = any(v_found) order by j.id for no key update skip locked) l);
        perform purser.undo_members(v_batch, v_unlocked);
      end if;
    else
      v_from := greatest(v_batch.next_at, v_now - interval '250 milliseconds');
      v_allowed := least(p_limit, 1 + floor(extract(epoch from v_now - v_from) * v_batch.per_second));
      v_found := array(
        select m.job_id from purser.batch_members m
        where m.batch_id = v_batch.id and m.state = 'waiting' and m.job_id > v_batch.last_job_id
          and (v_batch.act <> 'replay' or not exists (
            select from public.pauses p
            where p.scope = 'all' or p.scope = 'job_type' and p.name = m.job_type
              or p.scope = 'tenant' and p.name = m.tenant_id))
        order by m.job_id limit v_allowed);
      v_unlocked := array(
        select l.id from (
          select j.id from public.jobs j join public.tenants t on t.id = j.tenant_id
          where j.id = any(v_found) order by j.id
          for no key update of j skip locked for key share of t skip locked) l);
      perform purser.execute_members(v_batch, v_unlocked);
    end if;
  exception when others then
    fault := sqlstate;
    update purser.batches b set next_at = clock_timestamp() + interval '1 second' where b.id = v_batch.id
    returning b.state into step_state;
    return next;
    return;
  end;
  if v_found is not null then
    select count(*) filter (where m.state = 'done'), count(*) filter (where m.state = 'skipped'),
      v_undone + count(*) filter (where m.state = 'undone'), count(*) filter (where m.state <> 'waiting'
        and (v_batch.state = 'running' or m.state = 'undone' or m.why is not null))
    into v_done, v_skipped, v_undone, changed
    from purser.batch_members m where m.batch_id = v_batch.id and m.job_id = any(v_found);
  else
    changed := v_undone;
  end if;
  v_last_id := case when cardinality(v_found) < v_allowed then 0 else v_found[cardinality(v_found)] end;
  if v_batch.state = 'running' then
    v_is_over := v_batch.done + v_batch.skipped + v_batch.undone + v_done + v_skipped >= v_batch.members;
    update purser.batches b
    set done = b.done + v_done, skipped = b.skipped + v_skipped, last_job_id = coalesce(v_last_id, 0),
      state = case when v_is_over then 'completed' else b.state end,
      ended_at = case when v_is_over then clock_timestamp() end,
      -- Where nothing can be done: all that is left is paused or locked.
      next_at = case when changed = 0 and v_last_id = 0 and v_batch.last_job_id = 0 then v_now + interval '1 second'
        else v_from + v_done * interval '1 second' / b.per_second end
    where b.id = v_batch.id returning b.state into step_state;
  else
    v_is_over := changed = 0 and coalesce(cardinality(v_found), 0) = 0 and v_batch.last_job_id = 0
      and not exists (select from purser.batch_members m where m.batch_id = v_batch.id and m.state = 'waiting');
    update purser.batches b
    set done = b.done - case when v_found is null then 0 else v_undone end, undone = b.undone + v_undone,
      last_job_id = coalesce(v_last_id, 0), state = case when v_is_over then 'undone' else b.state end,
      ended_at = case when v_is_over then clock_timestamp() end,
      next_at = case when changed = 0 then v_now + interval '200 milliseconds' else v_now end
    where b.id = v_batch.id returning b.state into step_state;
  end if;
  return next;
end
$$;

select purser.protect_table('purser.batches', '', 'id');
select purser.protect_table('purser.batch_members', '');
