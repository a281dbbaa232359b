/** The statements of the sweep, for a walk. */
import { endAlertTry, takeAlerts } from '../../src/budget/alerts.ts';
import { closeEndedMonths } from '../../src/budget/closing/close.ts';
import { endLookUps, startLookUps } from '../../src/budget/look-up/look-up.ts';
import { releaseExpiredReservations } from '../../src/budget/expire.ts';
import { sweepFleetScopes } from '../../src/budget/fleet/sweep.ts';
import { addUpSpend } from '../../src/budget/spend/add-up.ts';
import { assumeUnknown } from '../../src/budget/resolve.ts';
import { codeOf } from '../../src/errors.ts';
import { removeStaleUploads } from '../../src/costs/uploads/uploads.ts';
import {
  clearJobLimit,
  forgetStarts,
  markLimited,
  setJobLimit,
} from '../../src/jobs/limits/job-limits.ts';
import { sampleFleet } from '../../src/operations/now/sample.ts';
import { terminateBlockingSessions } from '../../src/db/session-limits.ts';
import { returnStopped } from '../../src/jobs/stop/stopped.ts';
import {
  addUpJobCounts,
  expireWaitingJobs,
  removeExpiredKeys,
  rescueLostAttempts,
  wakeParkedJobs,
} from '../../src/jobs/sweep.ts';
import { stateIs, stoppedStep } from './arranged-tenant.ts';
import type { FleetStatement } from './money/fleet-statement.ts';

const ignoreFault = { onRowFault: () => {} };

export const sweepStatements: readonly FleetStatement[] = [
  {
    name: 'rescue',
    covers: ['jobs/sweep.ts endExpiredLeases'],
    run: async (sql, _all, { lost }) => {
      await rescueLostAttempts(sql, ignoreFault);
      return stateIs(sql, lost.jobId, 'pending');
    },
  },
  {
    name: 'return queued jobs under a stop',
    covers: ['jobs/stop/stopped.ts returnStopped'],
    run: async (sql, _all, { stopped }) => {
      await sql`
        insert into pauses (scope, name, reason, by, stops) values ('job_type', ${stoppedStep}, 'walk', 'test', true)
        on conflict do nothing`;
      await returnStopped(sql);
      await sql`delete from pauses where name = ${stoppedStep}`;
      return stateIs(sql, stopped, 'pending');
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
    name: 'add up the counts of jobs',
    covers: ['jobs/sweep.ts addUpJobCounts'],
    run: async (sql) => {
      const total = () => sql`
        select job_type, outcome, sum(jobs)::int as jobs from purser.job_counts group by 1, 2 order by 1, 2`;
      const before = await total();
      await addUpJobCounts(sql);
      return before.length > 0 && JSON.stringify(await total()) === JSON.stringify(before);
    },
  },
  {
    name: 'sample the fleet',
    covers: ['operations/now/sample.ts sampleFleet', 'operations/now/sample.ts storeSample'],
    run: async (sql) => {
      await sql`delete from purser.fleet_samples`;
      return (await sampleFleet(sql)) === 1;
    },
  },
  {
    name: 'mark jobs that a limit counts',
    covers: ['jobs/limits/job-limits.ts markLimited'],
    run: async (sql, _all, { tenantId }) => {
      const marked = () => sql`
        select from purser.in_flight where tenant_id = ${tenantId} and limited`;
      await setJobLimit(sql, { tenantId }, { maxRunning: 1_000, by: 'test' });
      await sql`update purser.in_flight set limited = false where tenant_id = ${tenantId}`;
      await markLimited(sql);
      const { length } = await marked();
      await clearJobLimit(sql, { tenantId });
      return length > 0;
    },
  },
  {
    name: 'remove permits that are free',
    covers: ['jobs/limits/job-limits.ts forgetStarts'],
    run: async (sql, _all, { tenantId }) => {
      await sql`
        insert into purser.rate_slots (tenant_id, job_type, group_name, slot, job_id, started_at)
        values (${tenantId}, '', '', 1, 1, '-infinity')
        on conflict do nothing`;
      await forgetStarts(sql);
      return (await sql`select from purser.rate_slots where tenant_id = ${tenantId}`).length === 0;
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
    covers: ['db/locks/broken.ts recordHolders'],
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
    name: 'close months',
    covers: ['budget/closing/close.ts closeEndedMonths'],
    run: async (sql, _all, { tenantId }) => {
      await sql`
        insert into llm_budgets (tenant_id, monthly_limit_usd) values (${tenantId}, 1)
        on conflict (tenant_id) do nothing`;
      await sql`
        insert into llm_budget_periods (budget_id, period_start, tenant_id)
        select id, '2020-01-01', tenant_id from llm_budgets where tenant_id = ${tenantId}
        on conflict (budget_id, period_start) do update set closed_at = null`;
      return (await closeEndedMonths(sql, { afterMs: 0, limit: 100 })) > 0;
    },
  },
  {
    name: 'add up what was spent',
    covers: ['budget/spend/add-up.ts addUpSpend'],
    run: async (sql) => (await addUpSpend(sql)) >= 0,
  },
  {
    name: 'deliver alerts',
    covers: ['budget/alerts.ts takeAlerts', 'budget/alerts.ts endAlertTry'],
    run: async (sql) => {
      const taken = await takeAlerts(sql, { limit: 100, leaseMs: 0 });
      for (const { id } of taken) await endAlertTry(sql, { id, failure: 'test' });
      return true;
    },
  },
  {
    name: 'return allotments of the fleet',
    covers: ['budget/fleet/sweep.ts sweepFleetScopes'],
    run: async (sql) => (await sweepFleetScopes(sql)) >= 0,
  },
  {
    name: 'look up calls of unknown outcome',
    covers: ['budget/look-up/look-up.ts startLookUps', 'budget/look-up/look-up.ts endLookUp'],
    run: async (sql, _all, { tenantId }) => {
      // What an earlier round of the walk began is due again, where that round met a lock.
      await sql`update llm_look_ups set next_try_at = '-infinity' where tenant_id = ${tenantId}`;
      // Behind a migration its lock timeout passes: then in the next round.
      const started = await startLookUps(sql).catch((error: unknown) => {
        if (codeOf(error) === '55P03') return undefined;
        throw error;
      });
      if (started === undefined) return false;
      const asked = () => sql`
        select from llm_look_ups where tenant_id = ${tenantId} and job_id is not null`;
      const before = await asked();
      await sql`update llm_look_ups set job_id = -1 where tenant_id = ${tenantId}`;
      await endLookUps(sql, ignoreFault);
      return before.length > 0 && (await asked()).length === 0;
    },
  },
  {
    name: 'settle what stays unknown',
    covers: ['budget/resolve.ts assumeUnknown'],
    run: async (sql) => (await assumeUnknown(sql, { afterMs: 0, limit: 500 })) >= 0,
  },
];
