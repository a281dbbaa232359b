/** A tenant with work for every statement of the fleet. */
import { markSent } from '../../src/budget/reserve.ts';
import { lookUpJobType } from '../../src/budget/look-up/answer.ts';
import { markUnknown } from '../../src/budget/settle.ts';
import type { Sql } from '../../src/db/connect.ts';
import {
  addJob,
  addJobType,
  claim,
  claimJob,
  finish,
  queuedRequest,
  runningJob,
  step,
} from '../jobs/job-steps.ts';
import { reserve } from '../support/holds.ts';
import { addTenant } from '../support/tenants.ts';

export const waitingStep = 'test_waiting';
/** What a stop of this type returns, or ends. */
export const stoppedStep = 'test_stopped';

/** A rotation may rewrite every payload of its tenant, and has their rows until it commits. */
export async function rotateAll(sql: Sql, tenantId: string): Promise<string> {
  await sql`
    update background_jobs set payload = '{"sealed": "v2.1.old"}' where tenant_id = ${tenantId}`;
  const [rotated] = await sql<{ values: string }[]>`
    select json_agg(json_build_object('rowId', id, 'token', 'v2.1.old', 'rotated', 'v2.2.new'))::text as values
    from background_jobs where tenant_id = ${tenantId}`;
  return rotated?.values ?? '';
}

/** One tenant with something to do for every statement. */
export async function arrangeTenant(sql: Sql) {
  const tenantId = await addTenant(sql, { limitUsd: '100', plan: 'pro' });
  const lost = await runningJob(sql, tenantId, {}, -1_000);
  const running = await runningJob(sql, tenantId);
  const ending = await runningJob(sql, tenantId);
  const cancelling = await runningJob(sql, tenantId);
  const parked = await runningJob(sql, tenantId);
  await finish(sql, parked, { toState: 'parked', neededUsd: '1', until: new Date(0) });
  const keyed = await runningJob(sql, tenantId, { dedupKey: 'expired' });
  await finish(sql, keyed);
  await sql`update job_keys set expires_at = now() - interval '1 minute' where tenant_id = ${tenantId}`;
  const returned = await claimJob(sql, await addJob(sql, tenantId));
  const beginning = await queuedRequest(sql, tenantId);
  const attempt = { ...running, tenantId };
  const expiredHold = await reserve(sql, attempt, '1');
  await sql`
    update llm_reservations set expires_at = now() - interval '1 second' where id = ${expiredHold.reservationId}`;
  const openHold = await reserve(sql, attempt, '1');
  const settledHold = await reserve(sql, attempt, '1');
  await markSent(sql, settledHold);
  const lookedUpHold = await reserve(sql, attempt, '0.1');
  await markSent(sql, lookedUpHold);
  await markUnknown(sql, lookedUpHold);
  await sql`
    update llm_reservations set closed_at = now() - interval '6 minutes', sent_at = now()
    where id = ${lookedUpHold.reservationId}`;
  const [upload] = await sql<{ id: string }[]>`
    insert into ingest_uploads (tenant_id, file_name, file_hash, created_at)
    values (${tenantId}, 'stale.csv', ${'0'.repeat(64)}, now() - interval '2 days') returning id`;
  await sql`
    insert into ingest_chunks (upload_id, seq, tenant_id, bytes) values (${upload?.id ?? ''}, 0, ${tenantId}, 'x')`;
  const late = await addJob(sql, tenantId);
  await sql`update background_jobs set give_up_at = now() - interval '1 minute' where id = ${late}`;
  const waiting = await addJob(sql, tenantId, { jobType: waitingStep });
  const stopped = await addJob(sql, tenantId, { jobType: stoppedStep });
  await claim(sql, 1_000, stoppedStep);
  await sql`update background_jobs set job_type = 'key_rotation' where id = ${running.jobId}`;
  return {
    tenantId,
    rotated: await rotateAll(sql, tenantId),
    token: running.token,
    lost,
    running,
    ending,
    cancelling,
    parked,
    returned,
    beginning,
    attempt,
    openHold,
    settledHold,
    uploadId: upload?.id ?? '',
    late,
    waiting,
    stopped,
  };
}

export type Arranged = Awaited<ReturnType<typeof arrangeTenant>>;

/** The circuit breaker of a key of the tenant's own is to open. */
export const keyFailed = ({ tenantId }: { readonly tenantId: string }) => ({
  kind: 'credential' as const,
  key: `test/own/${tenantId}`,
  provider: 'test',
  name: 'own',
  tenantId,
  error: 'llm_auth',
});

export const stateIs = async (sql: Sql, jobId: string, ...states: string[]): Promise<boolean> => {
  const [row] = await sql<
    { state: string }[]
  >`select state from background_jobs where id = ${jobId}`;
  return states.includes(row?.state ?? '');
};

export async function addWalkedTypes(sql: Sql): Promise<void> {
  await addJobType(sql, step);
  await addJobType(sql, waitingStep);
  await addJobType(sql, stoppedStep);
  await addJobType(sql, lookUpJobType);
  await sql`
    insert into heartbeats (process_id, role, version, hostname, pid, job_types, beat_at)
    values ('looks-up', 'worker', '1', 'h', 1, array[${lookUpJobType}], now() + interval '1 hour')`;
}
