/** A fleet in which every text that others write is markup. */
import { randomUUID } from 'node:crypto';
import { enqueue } from '../../../../src/jobs/enqueue.ts';
import { newToken } from '../../../../src/jobs/attempts.ts';
import type { Sql } from '../../../../src/db/connect.ts';
import { attemptOf, callOf, refusedCall } from '../../../budget/report/calls.ts';

export const script = '"><script>alert(1)</script><img src=x onerror=alert(2)>';
/** As a page shows it. */
export const shown = '&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;';

export interface ArrangedFleet {
  readonly tenantId: string;
  readonly workerId: string;
  readonly reservationId: string;
  readonly jobType: string;
}

export async function arrangeFleet(sql: Sql): Promise<ArrangedFleet> {
  const tenantId = `t${randomUUID().slice(0, 4)} ${script}`;
  const workerId = `worker-${randomUUID().slice(0, 4)} ${script}`;
  const jobType = 'marked_up';
  await sql`insert into tenants (id, plan) values (${tenantId}, 'enterprise')`;
  const attempt = await attemptOf(sql, tenantId, jobType);
  await callOf(sql, attempt, { hold: '1', cost: '0.5', model: script, provider: script });
  const reservationId = await callOf(sql, attempt, { hold: '1', model: script, provider: script });
  await sql`update llm_reservations set request_id = ${script} where id = ${reservationId}`;
  const limits = { kind: 'model', subject: script, period: 'day' };
  await sql`
    select purser.set_scope(${tenantId}, ${limits.kind}, ${limits.subject}, ${limits.period}, 'UTC', 5, null, true,
      ${script}, null)`;
  await refusedCall(sql, await attemptOf(sql, tenantId, jobType));
  await sql`
    insert into llm_stops (tenant_id, provider, model, aborts, reason, set_by)
    values (${tenantId}, ${script}, ${script}, false, ${script}, ${script})`;
  await sql`
    insert into llm_breakers (kind, key, state, opened_at, opens, until, last_error, changed_by,
      changed_at)
    values ('model', ${script}, 'open', now(), 1, now() + interval '1 hour', ${script}, ${script}, now())`;
  await sql`
    insert into pauses (scope, name, reason, by, stops) values ('tenant', ${tenantId}, ${script}, ${script}, true)`;
  await sql`
    insert into schedules (job_type, cohort, cron, zone, enabled, paused_by, paused_reason, paused_at)
    values (${jobType}, 'high_value', '0 * * * *', 'UTC', false, ${script}, ${script}, now()),
      (${jobType}, 'active', ${script}, ${script}, true, null, null, null)`;
  await sql`
    update tenant_schedules set enabled = false, paused_by = ${script}, paused_reason = ${script}
    where tenant_id = ${tenantId}`;
  await sql`
    insert into heartbeats (process_id, role, hostname, version, pid, slots, running, job_types, type_slots, beat_at,
      started_at, progressed_at, metrics, drain_requested, drain_state)
    values (${workerId}, 'worker', ${script}, ${script}, 1, 4, 1, array[${script}], array[4], now(), now(), now(), '[]',
      ${JSON.stringify({ by: script, reason: script, at: new Date().toISOString() })}::text::jsonb, 'draining')`;
  const { jobId } = await enqueue(sql, { tenantId, jobType });
  await sql`delete from purser.waiting where job_id = ${jobId}`;
  await sql`
    insert into purser.in_flight (job_id, tenant_id, job_type, priority, scheduled_for, give_up_at, attempt, token,
      worker_id, started_at, expires_at, progress)
    values (${jobId}, ${tenantId}, ${jobType}, 0, now(), now() + interval '1 day', 1, ${newToken(jobId)},
      ${workerId}, now() - interval '90 seconds', now() + interval '1 hour',
      ${JSON.stringify({ done: 0.25, note: script })}::text::jsonb)`;
  return { tenantId, workerId, reservationId, jobType };
}
