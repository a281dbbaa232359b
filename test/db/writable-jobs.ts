/**
 * Lets tests write to the view background_jobs as if it were one table, to arrange what would take days or a crash: a
 * job is moved to the table of the state that the row then has.
 */
import type { Queryable } from '../../src/db/connect.ts';

const open =
  'job_id, tenant_id, job_type, group_name, priority, scheduled_for, give_up_at, attempt, payload_bytes, failed, ' +
  'losses, losses_alone, suspect, needed_usd, first_parked_at, detail, last_error';

const row = `
  n.id, n.tenant_id, n.job_type, coalesce(n.group_name, ''), coalesce(n.priority, 0),
  coalesce(n.scheduled_for, now()), coalesce(n.give_up_at, now() + interval '1 day'), coalesce(n.attempt, 0),
  octet_length(n.payload::text),
  n.state = 'failed', coalesce(n.losses, 0), coalesce(n.losses_alone, 0), coalesce(n.suspect, false), n.needed_usd,
  n.first_parked_at, n.state_detail, n.error`;

/** Installs INSTEAD OF triggers; the view belongs to the migrating login. */
export async function makeJobsWritable(sql: Queryable): Promise<void> {
  await sql.unsafe(`
    create function public.write_job() returns trigger language plpgsql as $$
    declare
      n public.background_jobs := case when tg_op = 'DELETE' then old else new end;
      v_flight purser.in_flight;
      v_ended boolean;
    begin
      if tg_op = 'DELETE' then
        delete from public.jobs where id = old.id;
        return old;
      end if;
      n.state := coalesce(n.state, 'pending');
      n.payload := coalesce(n.payload, '{}');
      v_ended := n.state in ('completed', 'dead_letter', 'cancelled');
      if tg_op = 'INSERT' then
        n.id := coalesce(n.id, nextval('public.jobs_id_seq'));
        insert into public.jobs (id, tenant_id, job_type, payload, dedup_key, origin, max_attempts, priority,
          scheduled_for, replay_of, encryption_key_version, created_at, group_name)
        values (n.id, n.tenant_id, n.job_type, n.payload, n.dedup_key, coalesce(n.state_detail, '{}'), n.max_attempts,
          coalesce(n.priority, 0), coalesce(n.scheduled_for, now()), n.replay_of, n.encryption_key_version,
          coalesce(n.created_at, now()), coalesce(n.group_name, ''));
      else
        select * into v_flight from purser.in_flight where job_id = old.id;
        delete from purser.waiting where job_id = old.id;
        delete from purser.later where job_id = old.id;
        delete from purser.parked where job_id = old.id;
        delete from purser.in_flight where job_id = old.id;
        delete from purser.dead_letters where job_id = old.id;
      end if;
      update public.jobs set id = n.id, job_type = n.job_type, payload = n.payload, priority = coalesce(n.priority, 0),
        created_at = coalesce(n.created_at, created_at), outcome = case when v_ended then n.state end,
        result = case when v_ended then n.result end, error = case when v_ended then n.error end,
        end_detail = case when v_ended then n.state_detail end,
        attempt = case when v_ended then coalesce(n.attempt, 0) else 0 end,
        queued_at = case when v_ended then n.queued_at end, started_at = case when v_ended then n.started_at end,
        finished_at = case when v_ended then coalesce(n.finished_at, clock_timestamp()) end,
        discarded_at = n.discarded_at
      where id = case when tg_op = 'INSERT' then n.id else old.id end;
      if n.state = 'dead_letter' and n.discarded_at is null then
        insert into purser.dead_letters (job_id, tenant_id, finished_at, job_type, attempt, error_code, fingerprint,
          ended_by, words)
        values (n.id, n.tenant_id, coalesce(n.finished_at, clock_timestamp()), n.job_type, coalesce(n.attempt, 0),
          n.error->>'code', purser.fingerprint_of(n.job_type, '0-' || coalesce(n.error->>'code', '')),
          purser.ended_by(n.state_detail->>'reason'), purser.words_in(n.error));
      elsif n.state in ('pending', 'failed') and coalesce(n.scheduled_for, now()) <= now() then
        insert into purser.waiting (${open}) select ${row};
      elsif n.state in ('pending', 'failed') then
        insert into purser.later (${open}) select ${row};
      elsif n.state = 'parked' then
        insert into purser.parked (${open}) select ${row};
      elsif n.state in ('queued', 'running') then
        insert into purser.in_flight (${open}, entry_id, queued_at, token, worker_id, started_at, expires_at, alone,
          progress, cancel_requested)
        select ${row}, n.entry_id, coalesce(n.queued_at, now()), r.token, r.worker_id, r.started_at, r.expires_at,
          coalesce(v_flight.alone, false), v_flight.progress, v_flight.cancel_requested
        from (select n.state = 'running' as runs) s cross join lateral (select
          case when runs then coalesce(n.attempt_token, (lpad(to_hex(n.id), 16, '0') || right(replace(gen_random_uuid()::text, '-', ''), 16))::uuid) end as token,
          case when runs then coalesce(n.lease_owner, 'worker-1') end as worker_id,
          case when runs then coalesce(n.started_at, now()) end as started_at,
          case when runs then coalesce(v_flight.expires_at, now() + interval '1 hour') end as expires_at) r;
        update purser.in_flight set failed = coalesce(v_flight.failed, false) where job_id = n.id;
      end if;
      if v_ended and (tg_op = 'INSERT' or old.finished_at is null) then
        insert into purser.job_counts values (n.job_type, n.state, 1);
      end if;
      return n;
    end $$;
    create trigger write_job instead of insert or update or delete on public.background_jobs
      for each row execute function public.write_job()`);
}
