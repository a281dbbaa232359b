/** Tables as a fleet has them after a month: mostly completed jobs, a tenth dead letters, a twentieth waiting. */
import type { Sql } from '../../src/db/connect.ts';
import { addJobType } from '../../test/jobs/job-steps.ts';

const tenants = 1_000;
const types = 20;

export async function fillJobs(sql: Sql, jobs: number): Promise<Record<string, number>> {
  for (let n = 0; n < types; n += 1) await addJobType(sql, `type_${n}`);
  await sql`insert into tenants (id, plan) select 'tenant-' || n, 'free' from generate_series(1, ${tenants}) n`;
  // Every tenth is a dead letter, every twentieth waits.
  await sql`
    insert into jobs (id, tenant_id, job_type, payload, max_attempts, created_at, outcome, attempt, error, end_detail,
      queued_at, started_at, finished_at, result)
    overriding system value
    select n, 'tenant-' || (1 + n % ${tenants}), 'type_' || (n / 7 % ${types}), jsonb_build_object('n', n), 3, at,
      outcome, case when outcome is null then 0 else 1 end,
      case when outcome = 'dead_letter' then jsonb_build_object('code', 'code_' || cause % 9, 'message',
        'a message of cause ' || cause || ' for rare' || n) end,
      case when outcome = 'dead_letter' then '{"reason": "attempts exhausted"}'::jsonb end, at, at,
      case when outcome is not null then at + interval '1 second' end, case when outcome = 'completed' then '{}'::jsonb end
    from (
      select n, now() - (${jobs}::int - n) * interval '1 second' * (2600000.0 / ${jobs}::int) as at,
        (n::bigint * 7919 % 400)::int as cause,
        case when n % 10 = 0 then 'dead_letter' when n % 20 = 1 then null else 'completed' end as outcome
      from generate_series(1, ${jobs}::int) n) j`;
  await sql`select setval(pg_get_serial_sequence('public.jobs', 'id'), ${jobs})`;
  await sql`
    insert into purser.waiting (job_id, tenant_id, job_type, priority, scheduled_for, give_up_at, attempt)
    select id, tenant_id, job_type, 0, created_at, now() + interval '1 day', 0 from jobs
    where outcome is null and id % 40 <> 1`;
  await sql`
    insert into purser.parked (job_id, tenant_id, job_type, priority, scheduled_for, give_up_at, attempt, needed_usd)
    select id, tenant_id, job_type, 0, now() + interval '1 day', now() + interval '2 days', 0, 1 from jobs
    where outcome is null and id % 40 = 1 and id % 400 <> 1`;
  await sql`
    insert into purser.in_flight (job_id, tenant_id, job_type, priority, scheduled_for, give_up_at, attempt, entry_id)
    select id, tenant_id, job_type, 0, now(), now() + interval '1 day', 0, gen_random_uuid() from jobs
    where outcome is null and id % 400 = 1`;
  await sql`
    insert into purser.dead_letters (job_id, tenant_id, finished_at, job_type, attempt, error_code, fingerprint, ended_by, words)
    select id, tenant_id, finished_at, job_type, attempt, error->>'code',
      purser.fingerprint_of(job_type, '1-' || (error->>'code') || split_part(error->>'message', ' for ', 1)), 'exhausted',
      purser.words_in(error)
    from jobs where outcome = 'dead_letter'`;
  await sql`
    insert into purser.failures (job_id, tenant_id, job_type, attempt, at, error_code, fingerprint, ended_by, words)
    select job_id, tenant_id, job_type, attempt, finished_at, error_code, fingerprint, ended_by, words
    from purser.dead_letters`;
  await sql`
    insert into purser.job_history (job_id, tenant_id, to_state, attempt, queued_at, started_at, ended_at, worker_id,
      error_code, fingerprint, error)
    select j.id, j.tenant_id, j.outcome, j.attempt, j.queued_at, j.started_at, j.finished_at, 'worker-1',
      j.error->>'code', d.fingerprint, j.error
    from jobs j left join purser.dead_letters d on d.job_id = j.id where j.outcome is not null order by j.id`;
  await sql`
    insert into purser.job_counts (job_type, outcome, jobs, added_up)
    select job_type, outcome, count(*), true from jobs where outcome is not null group by 1, 2`;
  await sql`
    insert into purser.job_ends select purser.slot_of(now() - n * interval '5 minutes'), 'type_' || t, o, 100
    from generate_series(0, 400) n, generate_series(0, ${types - 1}) t, unnest(array['completed', 'dead_letter']) o`;
  await sql`
    insert into purser.fleet_samples (slot, failed_attempts, spent_usd, schedule_lag_ms, ledger_id)
    select purser.slot_of(now() - n * interval '5 minutes'), 10, 0.5, 100, 0 from generate_series(0, 400) n`;
  await sql`
    insert into purser.type_waits select purser.slot_of(now() - n * interval '5 minutes'), 'type_' || t, 1000
    from generate_series(0, 400) n, generate_series(0, ${types - 1}) t`;
  await sql`vacuum analyze`;
  const counts: Record<string, number> = {};
  for (const table of [
    'public.jobs',
    'purser.waiting',
    'purser.parked',
    'purser.in_flight',
    'purser.dead_letters',
    'purser.failures',
  ]) {
    const [row] = await sql<{ rows: number }[]>`select count(*)::int as rows from ${sql(table)}`;
    counts[table] = row?.rows ?? 0;
  }
  return counts;
}
