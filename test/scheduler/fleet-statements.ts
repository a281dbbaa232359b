/** Work of a tenant for every statement of the fleet, and what each statement does to it. */
import { randomUUID } from 'node:crypto';
import { releaseExpiredReservations } from '../../src/budget/expire.ts';
import { markSent } from '../../src/budget/reserve.ts';
import { recordUsage, releaseReservation } from '../../src/budget/settle.ts';
import { removeStaleUploads } from '../../src/costs/uploads/uploads.ts';
import type { Sql } from '../../src/db/connect.ts';
import { removeHeartbeat, removeOldHeartbeats, writeHeartbeat } from '../../src/db/heartbeats.ts';
import { claimWaitingJobs } from '../../src/jobs/dispatch.ts';
import { terminateBlockingSessions } from '../../src/db/tenant-sessions.ts';
import { countByState, listJobs } from '../../src/jobs/inspect.ts';
import { renewLeases, storeProgress } from '../../src/jobs/leases.ts';
import { storeLogLines } from '../../src/jobs/log-lines.ts';
import { listOldQueued, returnToPending } from '../../src/jobs/queued.ts';
import {
  expireWaitingJobs,
  removeExpiredKeys,
  rescueLostAttempts,
  wakeParkedJobs,
} from '../../src/jobs/sweep.ts';
import { claimDueTenants } from '../../src/schedules/claim.ts';
import { createBatches } from '../../src/worker/batches/attempt-batches.ts';
import {
  addJob,
  addJobType,
  claimJob,
  completed,
  finish,
  queuedRequest,
  runningJob,
  step,
} from '../jobs/job-steps.ts';
import { reserve, settlementOf } from '../support/holds.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { addTenant } from '../support/tenants.ts';

const waitingStep = 'test_waiting';

/** One tenant with something to do for every statement. */
export async function arrangeTenant(sql: Sql) {
  const tenantId = await addTenant(sql, { limitUsd: '100', plan: 'pro' });
  const lost = await runningJob(sql, tenantId, {}, -1_000);
  const running = await runningJob(sql, tenantId);
  const ending = await runningJob(sql, tenantId);
  const parked = await runningJob(sql, tenantId);
  await finish(sql, parked, { toState: 'parked', neededUsd: '1', scheduledFor: new Date(0) });
  const keyed = await runningJob(sql, tenantId, { dedupKey: 'expired' });
  await finish(sql, keyed);
  await sql`update job_keys set expires_at = now() - interval '1 minute' where tenant_id = ${tenantId}`;
  const returned = await claimJob(sql, await addJob(sql, tenantId));
  const beginning = await queuedRequest(sql, tenantId);
  const attempt = { ...running, tenantId };
  const expiredHold = await reserve(sql, attempt, '1');
  await sql`
    update llm_reservations set expires_at = now() - interval '1 minute' where id = ${expiredHold.reservationId}`;
  const openHold = await reserve(sql, attempt, '1');
  const settledHold = await reserve(sql, attempt, '1');
  await markSent(sql, settledHold);
  const [upload] = await sql<{ id: string }[]>`
    insert into ingest_uploads (tenant_id, file_name, file_hash, created_at)
    values (${tenantId}, 'stale.csv', ${'0'.repeat(64)}, now() - interval '2 days') returning id`;
  await sql`
    insert into ingest_chunks (upload_id, seq, tenant_id, bytes) values (${upload?.id ?? ''}, 0, ${tenantId}, 'x')`;
  const late = await addJob(sql, tenantId);
  await sql`update background_jobs set give_up_at = now() - interval '1 minute' where id = ${late}`;
  const waiting = await addJob(sql, tenantId, { jobType: waitingStep });
  // A rotation may rewrite every payload of its tenant, and has their rows until it commits.
  await sql`
    update background_jobs set payload = '{"sealed": "v2.1.old"}' where tenant_id = ${tenantId}`;
  await sql`update background_jobs set job_type = 'key_rotation' where id = ${running.jobId}`;
  const [rotated] = await sql<{ values: string }[]>`
    select json_agg(json_build_object('rowId', id, 'token', 'v2.1.old', 'rotated', 'v2.2.new'))::text as values
    from background_jobs where tenant_id = ${tenantId}`;
  return {
    tenantId,
    rotated: rotated?.values ?? '',
    token: running.token,
    lost,
    running,
    ending,
    parked,
    returned,
    beginning,
    attempt,
    openHold,
    settledHold,
    uploadId: upload?.id ?? '',
    late,
    waiting,
  };
}

export type Arranged = Awaited<ReturnType<typeof arrangeTenant>>;

export interface FleetStatement {
  readonly name: string;
  /** Entries of `systemStatements` that it runs. */
  readonly covers: readonly string[];
  /** Does its work for `all`; resolves to whether it was done for `free`, whose rows nobody holds. */
  readonly run: (sql: Sql, all: readonly Arranged[], free: Arranged) => Promise<boolean>;
}

const stateIs = async (sql: Sql, jobId: string, ...states: string[]): Promise<boolean> => {
  const [row] = await sql<
    { state: string }[]
  >`select state from background_jobs where id = ${jobId}`;
  return states.includes(row?.state ?? '');
};
const ignoreFault = { onRowFault: () => {} };
const batches = (sql: Sql) =>
  createBatches({ sql, workerId: 'worker-1', leaseMs: 30_000, log: silentLog, giveUpMs: 4_000 });

/** Waits for the free tenant's answer only: the other's may be refused when its row stays locked. */
async function answerFor<T>(
  free: Arranged,
  answers: readonly (readonly [Arranged, Promise<T>])[],
): Promise<boolean> {
  for (const [, answer] of answers) answer.catch(() => {});
  await answers.find(([owner]) => owner === free)?.[1];
  return true;
}

export const fleetStatements: readonly FleetStatement[] = [
  {
    name: 'claim schedules',
    covers: [
      'schedules/claim.ts lockDueTenants',
      'schedules/claim.ts insertTickJobs',
      'schedules/claim.ts advanceSchedules',
    ],
    run: async (sql, _all, { tenantId }) => {
      await claimDueTenants(sql, { onTenantFault: () => {} });
      const made = await sql`
        select from background_jobs where tenant_id = ${tenantId} and job_type = 'finops_analysis'`;
      return made.length === 1;
    },
  },
  {
    name: 'dispatch',
    covers: [
      'jobs/dispatch.ts lockTenantsWithWork',
      'jobs/dispatch.ts queueJobsRoundRobin',
      'jobs/dispatch.ts recordDispatchTime',
      'jobs/pauses.ts pausesDuringClaim',
    ],
    run: async (sql, _all, { waiting }) => {
      await claimWaitingJobs(sql, [{ jobType: waitingStep, capacity: 100 }]);
      return stateIs(sql, waiting, 'queued');
    },
  },
  {
    name: 'return to pending',
    covers: ['jobs/queued.ts returnToPending'],
    run: async (sql, all, { returned }) => {
      await listOldQueued(sql, 0);
      await returnToPending(
        sql,
        all.map((each) => each.returned),
        'queue entry lost',
      );
      return stateIs(sql, returned.jobId, 'pending');
    },
  },
  {
    name: 'begin',
    covers: ['jobs/attempts.ts beginAttempts'],
    run: (sql, all, free) => {
      const pipe = batches(sql);
      return answerFor(
        free,
        all.map((each) => [each, pipe.begin(each.beginning)] as const),
      );
    },
  },
  {
    name: 'finish',
    covers: ['jobs/attempts.ts finishAttempts'],
    run: (sql, all, free) => {
      const pipe = batches(sql);
      return answerFor(
        free,
        all.map((each) => [each, pipe.finish({ ...each.ending, end: completed })] as const),
      );
    },
  },
  {
    name: 'renew',
    covers: ['jobs/leases.ts renewLeases'],
    run: async (sql, all, { token }) =>
      (
        await renewLeases(
          sql,
          'worker-1',
          all.map((each) => each.token),
          30_000,
        )
      ).get(token) === 'renewed',
  },
  {
    name: 'progress',
    covers: ['jobs/leases.ts storeProgress'],
    run: async (sql, all) =>
      (await storeProgress(
        sql,
        all.map(({ token }) => ({ token, done: 0.5, note: null })),
      )) >= 1,
  },
  {
    name: 'log lines',
    covers: ['jobs/log-lines.ts appendLines'],
    run: async (sql, all) =>
      (await storeLogLines(
        sql,
        all.map(({ tenantId, running: { jobId } }) => ({
          jobId,
          tenantId,
          attempt: 1,
          lines: [{ at: new Date().toISOString(), level: 'info', text: 'x' }],
        })),
      )) === all.length,
  },
  {
    name: 'rescue',
    covers: ['jobs/sweep.ts endExpiredLeases'],
    run: async (sql, _all, { lost }) => {
      await rescueLostAttempts(sql, ignoreFault);
      return stateIs(sql, lost.jobId, 'pending');
    },
  },
  {
    name: 'expire jobs',
    covers: ['jobs/sweep.ts endWaitingJobs'],
    run: async (sql, _all, { late }) => {
      await expireWaitingJobs(sql, ignoreFault);
      return stateIs(sql, late, 'dead_letter');
    },
  },
  {
    name: 'wake parked jobs',
    covers: ['jobs/sweep.ts wakeFittingJobs'],
    run: async (sql, _all, { parked }) => {
      await wakeParkedJobs(sql, ignoreFault);
      return stateIs(sql, parked.jobId, 'pending');
    },
  },
  {
    name: 'remove keys',
    covers: ['jobs/sweep.ts removeExpiredKeys'],
    run: async (sql, _all, { tenantId }) => {
      await removeExpiredKeys(sql);
      return (await sql`select from job_keys where tenant_id = ${tenantId}`).length === 0;
    },
  },
  {
    name: 'terminate sessions that hold a table',
    covers: [],
    run: async (sql) => (await terminateBlockingSessions(sql, 60_000)) >= 0,
  },
  {
    name: 'remove stale uploads',
    covers: ['costs/uploads/uploads.ts deleteUploads'],
    run: async (sql, _all, { uploadId }) => {
      await removeStaleUploads(sql, ignoreFault);
      return (await sql`select from ingest_uploads where id = ${uploadId}`).length === 0;
    },
  },
  {
    name: 'expire holds',
    covers: ['budget/expire.ts expireBatch', 'budget/expire.ts expireReservations'],
    run: async (sql, _all, { tenantId }) => {
      await releaseExpiredReservations({ sql, limit: 500, ...ignoreFault });
      const left = await sql`
        select from llm_reservations
        where tenant_id = ${tenantId} and status = 'RESERVED' and expires_at < now()`;
      return left.length === 0;
    },
  },
  {
    name: 'reserve, send, settle, release',
    covers: [
      'budget/reserve.ts reserveHold',
      'budget/reserve.ts markSent',
      'budget/settle.ts settleHold',
      'budget/settle.ts closeHold',
    ],
    run: async (sql, all, free) => {
      const done = all.map(async ({ attempt, openHold, settledHold }) => {
        await markSent(sql, await reserve(sql, attempt, '1'));
        await recordUsage(sql, settlementOf(settledHold.reservationId, '0.5'));
        return releaseReservation(sql, { reservationId: openHold.reservationId });
      });
      return answerFor(
        free,
        all.map((each, at) => [each, done[at] ?? Promise.reject(new Error())] as const),
      );
    },
  },
  {
    name: 'heartbeats and reports',
    covers: [
      'db/heartbeats.ts writeHeartbeat',
      'db/heartbeats.ts removeHeartbeat',
      'db/heartbeats.ts removeOldHeartbeats',
      'jobs/registration.ts registerJobTypes',
    ],
    run: async (sql) => {
      const processId = randomUUID();
      await writeHeartbeat(sql, {
        processId,
        role: 'worker',
        version: '0',
        hostname: 'x',
        pid: 1,
        jobTypes: [],
        typeSlots: [],
        slots: 0,
        running: 0,
        progressedAt: new Date(),
        metrics: [],
      });
      await removeHeartbeat(sql, processId);
      await removeOldHeartbeats(sql, 3_600_000);
      await addJobType(sql, waitingStep);
      await listJobs(sql, { limit: 50 });
      return Object.keys(await countByState(sql)).length > 0;
    },
  },
];

export async function addWalkedTypes(sql: Sql): Promise<void> {
  await addJobType(sql, step);
  await addJobType(sql, waitingStep);
}
