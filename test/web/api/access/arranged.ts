/** A tenant with one of everything that the API shows, and a request for each endpoint. */
import { markUnknown } from '../../../../src/budget/settle.ts';
import { registerJobTypes } from '../../../../src/jobs/registration.ts';
import { enqueue } from '../../../../src/jobs/enqueue.ts';
import { setCohortSchedule } from '../../../../src/schedules/settings.ts';
import { previewBatch } from '../../../../src/operations/batches/preview.ts';
import { newToken } from '../../../../src/jobs/attempts.ts';
import { plainPrice } from '../../../budget/reconcile/ledger-calls.ts';
import { reserve } from '../../../support/holds.ts';
import { addTenant, insertAttempt } from '../../../support/tenants.ts';
import type { WebFixture } from '../../web-fixture.ts';
import type { Sent } from '../api-fixture.ts';

export const payloadCanary = 'canary-of-a-payload';
export const resultCanary = 'canary-of-a-result';

export interface ArrangedTenant {
  readonly tenantId: string;
  readonly jobType: string;
  /** Waits. */
  readonly waiting: string;
  readonly toCancel: string;
  readonly completed: string;
  readonly deadLetter: string;
  readonly toReplay: string;
  readonly toEdit: string;
  readonly toDiscard: string;
  readonly unknownCall: string;
  readonly worker: string;
  /** Of its type and tenant, not started. */
  readonly batch: string;
}

let made = 0;

/** With a job type of its own. */
export async function arrange({ database: { system } }: WebFixture): Promise<ArrangedTenant> {
  made += 1;
  const jobType = `walked_${made}`;
  const limits = { timeoutMs: 1_000, maxAttempts: 3, giveUpAfterMs: 60_000 };
  await registerJobTypes(system, [
    { type: jobType, onBudget: 'park', payloadSchema: {}, ...limits },
  ]);
  for (const cohort of ['high_value', 'active', 'dormant'] as const) {
    const timing = { cron: '0 3 * * *', zone: 'UTC', splaySeconds: 0, missedMost: 24 };
    await setCohortSchedule(system, { jobType, cohort, missed: 'once', ...timing });
  }
  const tenantId = await addTenant(system, { limitUsd: '1234.5' });
  await system`
    insert into tenant_schedules (tenant_id, job_type) values (${tenantId}, ${jobType})
    on conflict do nothing`;
  const payload = { note: payloadCanary };
  const enqueued = async () => (await enqueue(system, { tenantId, jobType, payload })).jobId;
  const ended = async (state: string): Promise<string> => {
    const error = { code: 'http_403', message: 'forbidden by the walk', stack: 'Error: at x' };
    const isDead = state === 'dead_letter';
    const [row] = await system<{ id: string }[]>`
      insert into background_jobs
        (tenant_id, job_type, state, payload, result, error, attempt, max_attempts, give_up_at, finished_at)
      values (${tenantId}, ${jobType}, ${state}, ${JSON.stringify(payload)}::text::jsonb,
        ${isDead ? null : JSON.stringify({ note: resultCanary })}::text::jsonb,
        ${isDead ? JSON.stringify(error) : null}::text::jsonb, 3, 3, now(), now())
      returning id`;
    return row?.id ?? '';
  };
  const [waiting, toCancel] = [await enqueued(), await enqueued()];
  const completed = await ended('completed');
  const attempt = { tenantId, jobId: completed, attempt: 1, token: newToken(completed) };
  await insertAttempt(system, attempt, jobType);
  const { reservationId } = await reserve(system, attempt, '0.01', {
    provider: 'openai',
    model: 'plain',
    price: plainPrice,
  });
  await system`update llm_reservations set sent_at = now() where id = ${reservationId}`;
  await markUnknown(system, { reservationId });
  await system`delete from purser.in_flight where token = ${attempt.token}`;
  const worker = `worker-${made}`;
  await system`
    insert into heartbeats (process_id, role, version, hostname, pid, beat_at, job_types)
    values (${worker}, 'worker', '1', 'h', 1, now() + interval '1 hour', ${[jobType]})`;
  const [deadLetter, toReplay, toEdit, toDiscard] = [
    await ended('dead_letter'),
    await ended('dead_letter'),
    await ended('dead_letter'),
    await ended('dead_letter'),
  ];
  const operator = { name: 'walk', proof: 'asserted', door: 'cli' } as const;
  const filter = { tenantId, jobType, state: 'dead_letter' } as const;
  const { batchId: batch } = await previewBatch(system, operator, { act: 'discard', filter });
  return {
    batch,
    tenantId,
    jobType,
    waiting,
    toCancel,
    completed,
    worker,
    deadLetter,
    toReplay,
    toEdit,
    toDiscard,
    unknownCall: reservationId,
  };
}

type Request = (of: ArrangedTenant) => Sent & { readonly path: string };

const reason = 'walked';

/** By operationId. A write is one that the tenant's own operator may do. */
export const requests: Readonly<Record<string, Request>> = {
  enqueueJob: ({ tenantId, jobType }) => ({ path: '/jobs', body: { tenantId, jobType } }),
  listJobs: () => ({ path: '/jobs?limit=200' }),
  getJob: ({ completed }) => ({ path: `/jobs/${completed}` }),
  cancelJob: ({ toCancel }) => ({ path: `/jobs/${toCancel}/cancel`, body: { reason } }),
  whyJob: ({ waiting }) => ({ path: `/jobs/${waiting}/why` }),
  why: ({ tenantId, jobType }) => ({ path: `/why?tenant=${tenantId}&type=${jobType}` }),
  listDeadLetters: () => ({ path: '/dead-letters?limit=200' }),
  listFailureGroups: () => ({ path: '/dead-letters/groups' }),
  getDeadLetter: ({ deadLetter }) => ({ path: `/dead-letters/${deadLetter}` }),
  replayDeadLetter: ({ toReplay }) => ({ path: `/dead-letters/${toReplay}/replay`, body: {} }),
  replayEdited: ({ toEdit }) => ({
    path: `/dead-letters/${toEdit}/edit`,
    body: { payload: { note: 'edited' }, reason },
  }),
  discardDeadLetter: ({ toDiscard }) => ({
    path: `/dead-letters/${toDiscard}/discard`,
    body: { reason },
  }),
  previewBatch: ({ tenantId, jobType }) => ({
    path: '/batches',
    body: { act: 'replay', filter: { tenant: tenantId, type: jobType } },
  }),
  listBatches: () => ({ path: '/batches' }),
  getBatch: ({ batch }) => ({ path: `/batches/${batch}` }),
  startBatch: ({ batch }) => ({
    path: `/batches/${batch}/start`,
    body: { perSecond: 50, reason },
  }),
  stopBatch: ({ batch }) => ({ path: `/batches/${batch}/stop`, body: { reason } }),
  resumeBatch: ({ batch }) => ({ path: `/batches/${batch}/resume`, body: { reason } }),
  undoBatch: ({ batch }) => ({ path: `/batches/${batch}/undo`, body: { reason } }),
  listBudgets: () => ({ path: '/budgets?limit=200' }),
  getBudget: ({ tenantId }) => ({ path: `/tenants/${tenantId}/budget` }),
  setBudget: ({ tenantId }) => ({
    path: `/tenants/${tenantId}/budget`,
    method: 'PUT',
    body: { monthlyLimitUsd: '12.5', reason },
  }),
  topUpBudget: ({ tenantId }) => ({
    path: `/tenants/${tenantId}/budget/top-up`,
    body: { usd: '1', reason },
  }),
  listUnknownCalls: () => ({ path: '/llm-calls?state=unknown&limit=200' }),
  resolveCall: ({ unknownCall }) => ({
    path: `/llm-calls/${unknownCall}/resolve`,
    body: { usd: '0.005', evidence: 'invoice 1 line 2', reason },
  }),
  listSchedules: () => ({ path: '/schedules' }),
  listTenantSchedules: ({ tenantId }) => ({ path: `/tenants/${tenantId}/schedules` }),
  pauseSchedule: ({ tenantId, jobType }) => ({
    path: `/schedules/${jobType}/pause`,
    body: { tenantId, reason },
  }),
  resumeSchedule: ({ tenantId, jobType }) => ({
    path: `/schedules/${jobType}/resume`,
    body: { tenantId },
  }),
  runSchedule: ({ tenantId, jobType }) => ({
    path: `/schedules/${jobType}/run`,
    body: { tenantId },
  }),
  listTenants: () => ({ path: '/tenants?limit=200' }),
  listWorkers: () => ({ path: '/workers' }),
  drainWorker: ({ worker }) => ({ path: `/workers/${worker}/drain`, body: {} }),
  undoDrain: ({ worker }) => ({ path: `/workers/${worker}/undo-drain`, body: {} }),
  listPauses: () => ({ path: '/pauses' }),
  pause: ({ tenantId }) => ({ path: '/pauses', body: { scope: 'tenant', name: tenantId, reason } }),
  stop: ({ tenantId }) => ({ path: '/stop', body: { scope: 'tenant', name: tenantId, reason } }),
  resume: ({ tenantId }) => ({
    path: `/pauses?scope=tenant&name=${tenantId}`,
    method: 'DELETE',
    body: { reason },
  }),
  listActs: () => ({ path: '/audit?limit=200' }),
};
