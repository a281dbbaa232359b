/** A fleet as operators see it: some tenants with calls, schedules, workers, pauses, stops and an open breaker. */
import { enqueue } from '../../../../src/jobs/enqueue.ts';
import { newToken } from '../../../../src/jobs/attempts.ts';
import type { Sql } from '../../../../src/db/connect.ts';
import { addJobType } from '../../../jobs/job-steps.ts';
import { attemptOf, callOf, refusedCall } from '../../../budget/report/calls.ts';

export interface OrdinaryFleet {
  readonly tenantId: string;
  /** Of a call of unknown cost. */
  readonly reservationId: string;
}

export async function arrangeOrdinaryFleet(sql: Sql): Promise<OrdinaryFleet> {
  const tenants = ['acme-industries', 'contoso', 'globex-corporation', 'initech', 'umbrella'];
  let reservationId = '';
  for (const [place, id] of tenants.entries()) {
    await sql`insert into tenants (id, plan) values (${id}, ${place < 2 ? 'enterprise' : 'starter'})`;
    for (const type of ['nightly_report', 'summarise_document']) {
      const attempt = await attemptOf(sql, id, type);
      for (const [model, cost] of [
        ['gpt-5-mini', '0.012345678'],
        ['claude-sonnet-4-5', '1.250000001'],
      ] as const) {
        await callOf(sql, attempt, { hold: '1.5', cost, model });
      }
      if (place < 2) reservationId = await callOf(sql, attempt, { hold: '0.75', model: 'gpt-5' });
    }
    await refusedCall(sql, await attemptOf(sql, id, 'summarise_document'));
  }
  const [tenantId = ''] = tenants;
  await sql`update llm_reservations set request_id = 'req_011CSHoEeqs5C35K2UUqR7Fy' where id = ${reservationId}`;
  for (const [kind, subject, period] of [
    ['model', 'gpt-5', 'day'],
    ['end_user', '*', 'month'],
  ] as const) {
    await sql`
      select purser.set_scope(${tenantId}, ${kind}, ${subject}, ${period}, 'Europe/Berlin', 25, 1000, true, 'lee', null)`;
  }
  await sql`
    insert into llm_stops (provider, model, aborts, reason, set_by)
    values ('openai', 'gpt-4o', true, 'retired by the provider', 'lee')`;
  await sql`
    insert into llm_breakers (kind, key, state, opened_at, opens, until, last_error, changed_by, changed_at)
    values ('model', 'anthropic/claude-opus-4-1', 'open', now(), 3, now() + interval '4 minutes',
      'http_529: overloaded_error', 'worker-1', now())`;
  await sql`
    insert into pauses (scope, name, reason, by, stops)
    values ('job_type', 'nightly_report', 'wrong prompt since Tuesday', 'lee', true),
      ('tenant', ${tenantId}, 'invoice is open', 'kim', false)`;
  await addJobType(sql, 'weekly_digest');
  await sql`
    insert into schedules (job_type, cohort, cron, zone, splay_seconds) values
      ('nightly_report', 'high_value', '0 2 * * *', 'Europe/Berlin', 600),
      ('nightly_report', 'active', '0 3 * * *', 'UTC', 3600), ('weekly_digest', 'high_value', '0 8 * * 1', 'UTC', 0)`;
  await sql`
    update schedules set enabled = false, paused_by = 'kim', paused_reason = 'holidays', paused_at = now()
    where cohort = 'active'`;
  await sql`
    insert into heartbeats (process_id, role, hostname, version, pid, slots, running, job_types, beat_at) values
      ('worker-7f3a2b', 'worker', 'worker.1', '1.2.3', 17, 50, 1, '{nightly_report,summarise_document}', now()),
      ('worker-91c0de', 'worker', 'worker.2', '1.2.3', 18, 50, 0, '{nightly_report}', now() - interval '2 minutes')`;
  await sql`
    update heartbeats set drain_state = 'draining', drain_requested = ${JSON.stringify({
      by: 'kim',
      reason: 'new instance size',
      at: new Date().toISOString(),
    })}::text::jsonb where process_id = 'worker-7f3a2b'`;
  const { jobId } = await enqueue(sql, { tenantId, jobType: 'summarise_document' });
  await sql`delete from purser.waiting where job_id = ${jobId}`;
  await sql`
    insert into purser.in_flight (job_id, tenant_id, job_type, priority, scheduled_for, give_up_at, attempt, token,
      worker_id, started_at, expires_at, progress)
    values (${jobId}, ${tenantId}, 'summarise_document', 0, now(), now() + interval '1 day', 1, ${newToken(jobId)},
      'worker-7f3a2b', now() - interval '90 seconds', now() + interval '1 hour',
      '{"done": 0.4, "note": "page 12 of 30"}')`;
  return { tenantId, reservationId };
}
