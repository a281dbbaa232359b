/** Rows with work for a statement of the sweep, and the query that locks one of two. */
import { randomUUID } from 'node:crypto';
import { releaseExpiredReservations } from '../../src/budget/expire.ts';
import { removeStaleUploads } from '../../src/costs/uploads/uploads.ts';
import type { Sql } from '../../src/db/connect.ts';
import { renewLeases, storeProgress } from '../../src/jobs/leases.ts';
import { returnToPending } from '../../src/jobs/queued.ts';
import {
  addUpJobCounts,
  expireWaitingJobs,
  removeExpiredKeys,
  rescueLostAttempts,
  wakeParkedJobs,
} from '../../src/jobs/sweep.ts';
import { addJob, claimJob, finish, runningJob } from '../jobs/job-steps.ts';
import { reserve } from '../support/holds.ts';
import { addTenant } from '../support/tenants.ts';

export interface LockedRow {
  /** Query of the locked row, for one of two. */
  readonly query: string;
  /** Works on both rows; resolves to how many it has changed. */
  readonly work: () => Promise<number>;
}

/** Makes two rows with work to do. */
type Arrange = () => Promise<LockedRow>;

/** By the statement that has to skip the locked one. */
export function lockedRows(sql: Sql): Readonly<Record<string, Arrange>> {
  const two = async <T>(make: (tenantId: string) => Promise<T>): Promise<[T, T]> => [
    await make(await addTenant(sql, { limitUsd: '100' })),
    await make(await addTenant(sql, { limitUsd: '100' })),
  ];
  const lost = (tenantId: string) => runningJob(sql, tenantId, {}, -1_000);
  const late = async (tenantId: string): Promise<string> => {
    const jobId = await addJob(sql, tenantId);
    await makeLate();
    return jobId;
  };
  const makeLate = () => sql`
    update background_jobs set give_up_at = now() - interval '1 minute'`;
  const parked = async (tenantId: string) => {
    const attempt = await runningJob(sql, tenantId);
    await finish(sql, attempt, {
      toState: 'parked',
      neededUsd: '1',
      until: new Date(0),
      countsAttempt: false,
    });
    return attempt.jobId;
  };
  const queued = async (tenantId: string) => claimJob(sql, await addJob(sql, tenantId));
  const job = (jobId: string): string => `select from public.jobs where id = ${jobId}`;
  const rescue = async (): Promise<number> => (await rescueLostAttempts(sql)).requeued;

  return {
    'rescue, the attempt': async () => {
      const [{ jobId }] = await two(lost);
      return { query: `select from purser.in_flight where job_id = ${jobId}`, work: rescue };
    },
    'rescue, the job': async () => ({ query: job((await two(lost))[0].jobId), work: rescue }),
    'expiry, what waits': async () => {
      const [jobId] = await two(late);
      return {
        query: `select from purser.waiting where job_id = ${jobId}`,
        work: () => expireWaitingJobs(sql),
      };
    },
    'expiry, what waits for its time': async () => {
      const [jobId] = await two((tenantId) =>
        addJob(sql, tenantId, { runAt: new Date(Date.now() + 3_600_000) }),
      );
      await makeLate();
      return {
        query: `select from purser.later where job_id = ${jobId}`,
        work: () => expireWaitingJobs(sql),
      };
    },
    'expiry, what is parked': async () => {
      const [jobId] = await two(parked);
      await makeLate();
      return {
        query: `select from purser.parked where job_id = ${jobId}`,
        work: () => expireWaitingJobs(sql),
      };
    },
    'expiry, what is queued': async () => {
      const [{ jobId }] = await two(queued);
      await makeLate();
      return {
        query: `select from purser.in_flight where job_id = ${jobId}`,
        work: () => expireWaitingJobs(sql),
      };
    },
    'expiry, the job': async () => ({
      query: job((await two(late))[0]),
      work: () => expireWaitingJobs(sql),
    }),
    waking: async () => {
      const [jobId] = await two(parked);
      return {
        query: `select from purser.parked where job_id = ${jobId}`,
        work: () => wakeParkedJobs(sql),
      };
    },
    'what returns to pending': async () => {
      const jobs = await two(queued);
      return {
        query: `select from purser.in_flight where job_id = ${jobs[0].jobId}`,
        work: () => returnToPending(sql, jobs, 'queue entry lost'),
      };
    },
    'renewing leases': async () => {
      const attempts = await two((tenantId) => runningJob(sql, tenantId));
      return {
        query: `select from purser.in_flight where job_id = ${attempts[0].jobId}`,
        work: async () => {
          const tokens = attempts.map(({ token }) => token);
          const states = await renewLeases(sql, 'worker-1', tokens, 30_000);
          return [...states.values()].filter((state) => state === 'renewed').length;
        },
      };
    },
    progress: async () => {
      const attempts = await two((tenantId) => runningJob(sql, tenantId));
      return {
        query: `select from purser.in_flight where job_id = ${attempts[0].jobId}`,
        work: () =>
          storeProgress(
            sql,
            attempts.map(({ token }) => ({ token, done: 0.5, note: null })),
          ),
      };
    },
    'the counts of jobs': async () => {
      await two(async (tenantId) => finish(sql, await runningJob(sql, tenantId)));
      return {
        query: 'select from (select from purser.job_counts limit 1 for update) c',
        work: async () => {
          await addUpJobCounts(sql);
          const [{ total } = { total: 0 }] = await sql<{ total: number }[]>`
            select sum(jobs)::int as total from purser.job_counts`;
          return total - 1;
        },
      };
    },
    'expired keys': async () => {
      const keyed = await two(async (tenantId) => {
        await finish(sql, await runningJob(sql, tenantId, { dedupKey: 'a' }));
        return tenantId;
      });
      await sql`update job_keys set expires_at = now() - interval '1 minute'`;
      return {
        query: `select from job_keys where tenant_id = '${keyed[0]}'`,
        work: () => removeExpiredKeys(sql),
      };
    },
    'expired keys of ticks': async () => {
      const [tenantId] = await two(async (owner) => {
        await sql`
          insert into purser.ticks (tenant_id, job_type, bucket, due_at, claimed_by, job_id, expires_at)
          values (${owner}, 'test_step', now(), now(), 'test', 0, now() - interval '1 minute')`;
        return owner;
      });
      return {
        query: `select from purser.ticks where tenant_id = '${tenantId}'`,
        work: () => removeExpiredKeys(sql),
      };
    },
    'expired tokens of operators': async () => {
      await sql`delete from purser.operator_tokens`;
      const [token] = await two(async (tenantId) => {
        const id = randomUUID();
        await sql`
          insert into purser.operator_tokens (token, tenant_id, expires_at)
          values (${id}, ${tenantId}, now() - interval '1 minute')`;
        return id;
      });
      return {
        query: `select from purser.operator_tokens where token = '${token}'`,
        work: async () => {
          await removeExpiredKeys(sql);
          return 2 - (await sql`select from purser.operator_tokens`).length;
        },
      };
    },
    'expired holds': async () => {
      const [id] = await two(async (tenantId) => {
        const attempt = { ...(await runningJob(sql, tenantId)), tenantId };
        return (await reserve(sql, attempt, '1')).reservationId;
      });
      await sql`update llm_reservations set expires_at = now() - interval '1 minute'`;
      return {
        query: `select from llm_reservations where id = '${id}'`,
        work: async () => (await releaseExpiredReservations({ sql, limit: 500 })).released,
      };
    },
    'stale uploads': async () => {
      const [tenantId] = await two(async (owner) => {
        await sql`
          insert into ingest_uploads (tenant_id, file_name, file_hash, created_at)
          values (${owner}, 'stale.csv', ${'0'.repeat(64)}, now() - interval '2 days')`;
        return owner;
      });
      return {
        query: `select from ingest_uploads where tenant_id = '${tenantId}'`,
        work: () => removeStaleUploads(sql),
      };
    },
  };
}
