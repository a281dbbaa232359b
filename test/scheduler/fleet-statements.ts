/** Every statement that a fleet runs by itself, and whether it did its work for a tenant. */
import { randomUUID } from 'node:crypto';
import type { Sql } from '../../src/db/connect.ts';
import {
  queueStoreSight,
  removeHeartbeat,
  removeOldHeartbeats,
  writeHeartbeat,
} from '../../src/db/heartbeats.ts';
import { probeDatabaseWrite } from '../../src/db/write-probe.ts';
import type { AttemptEnd } from '../../src/jobs/attempts.ts';
import { claimWaitingJobs, lookForWork } from '../../src/jobs/dispatch.ts';
import { countByState } from '../../src/jobs/inspect.ts';
import { listJobs } from '../../src/jobs/search/list.ts';
import { renewLeases, storeProgress } from '../../src/jobs/leases.ts';
import { storeLogLines } from '../../src/jobs/log-lines.ts';
import { listOldQueued, returnToPending } from '../../src/jobs/queued.ts';
import { claimDueTenants } from '../../src/schedules/claim.ts';
import { createBatches } from '../../src/worker/batches/attempt-batches.ts';
import { addJobType, completed } from '../jobs/job-steps.ts';
import { silentLog } from '../support/llm-attempt.ts';

import { stateIs, waitingStep } from './arranged-tenant.ts';
import type { Arranged } from './arranged-tenant.ts';
import { answerFor } from './money/fleet-statement.ts';
import type { FleetStatement } from './money/fleet-statement.ts';
import { batchStatements } from './batches/statements.ts';
import { moneyStatements } from './money/statements.ts';
import { sweepStatements } from './sweep-statements.ts';
import { webStatements } from './web/statements.ts';

const batches = (sql: Sql) =>
  createBatches({ sql, workerId: 'worker-1', leaseMs: 30_000, log: silentLog, giveUpMs: 5_000 });

function finish(
  sql: Sql,
  all: readonly Arranged[],
  free: Arranged,
  which: 'ending' | 'cancelling',
  end: AttemptEnd,
): Promise<boolean> {
  const pipe = batches(sql);
  return answerFor(
    free,
    all.map((each) => [each, pipe.finish({ ...each[which], end })] as const),
  );
}

export const fleetStatements: readonly FleetStatement[] = [
  {
    name: 'claim schedules',
    covers: ['schedules/claim.ts claimTicks'],
    run: async (sql, _all, { tenantId }) => {
      await claimDueTenants(sql, { onTenantFault: () => {} });
      const made = await sql`
        select from background_jobs where tenant_id = ${tenantId} and job_type = 'finops_analysis'`;
      return made.length === 1;
    },
  },
  {
    name: 'look for work',
    covers: ['jobs/dispatch.ts lookForWork'],
    run: async (sql) => (await lookForWork(sql, 20)).jobTypes.includes(waitingStep),
  },
  {
    name: 'dispatch',
    covers: ['jobs/dispatch.ts claimJobs'],
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
    covers: ['jobs/attempts.ts beginSome'],
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
    covers: ['jobs/attempts.ts finishCompleted'],
    run: (sql, all, free) => finish(sql, all, free, 'ending', completed),
  },
  {
    name: 'finish, not completed',
    covers: ['jobs/attempts.ts finishOthers'],
    run: (sql, all, free) =>
      finish(sql, all, free, 'cancelling', { ...completed, toState: 'cancelled' }),
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
  ...moneyStatements,
  ...batchStatements,
  {
    name: 'heartbeats and reports',
    covers: [
      'db/heartbeats.ts writeHeartbeat',
      'db/heartbeats.ts writeQueueStoreSight',
      'db/heartbeats.ts removeHeartbeat',
      'db/heartbeats.ts removeOldHeartbeats',
      'jobs/registration.ts registerJobTypes',
      'db/write-probe.ts insertHeartbeat',
      'queues/write-probe.ts probePool',
    ],
    run: async (sql, _all, _free, backend) => {
      await backend.ping();
      await probeDatabaseWrite(sql);
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
      await queueStoreSight(sql, processId)(true);
      await removeHeartbeat(sql, processId);
      await removeOldHeartbeats(sql, 3_600_000);
      await addJobType(sql, waitingStep);
      await listJobs(sql, { limit: 50 });
      return Object.keys(await countByState(sql)).length > 0;
    },
  },
  ...sweepStatements,
  ...webStatements,
];
