/** Jobs in each of the eight states, by the functions that the roles use. */
import type { Sql } from '../../../../src/db/connect.ts';
import { claimWaitingJobs } from '../../../../src/jobs/dispatch.ts';
import { requestCancel } from '../../../../src/jobs/cancel.ts';
import { again, exhausted, fatal } from '../../../jobs/failures/ends.ts';
import { addJob, addJobType, claimJob, finish, runningJob, step } from '../../../jobs/job-steps.ts';

export interface JobsOfEveryState {
  readonly pending: string;
  readonly queued: string;
  readonly running: string;
  readonly failed: string;
  readonly parked: string;
  readonly completed: string;
  readonly dead_letter: string;
  readonly cancelled: string;
  /** It ran, and went back to waiting without that attempt. */
  readonly handedBack: string;
  /** The queue has handed out its entry, and the worker had no room. */
  readonly refusedByWorker: string;
}

export async function jobsOfEveryState(sql: Sql, tenantId: string): Promise<JobsOfEveryState> {
  await addJobType(sql);
  const completed = await runningJob(sql, tenantId);
  await finish(sql, completed);
  const dead = await runningJob(sql, tenantId, { payload: { customer: 'in the payload' } });
  await finish(sql, dead, exhausted('boom', 'in the message'));
  await finish(sql, await runningJob(sql, tenantId), fatal('http_403', 'refused'));
  const failed = await runningJob(sql, tenantId);
  await finish(sql, failed, { ...again('http_500', 'later'), afterMs: 600_000 });
  const parked = await runningJob(sql, tenantId);
  await finish(sql, parked, {
    toState: 'parked',
    countsAttempt: false,
    neededUsd: '1',
    until: new Date(Date.now() + 86_400_000),
  });
  const cancelled = await addJob(sql, tenantId);
  await requestCancel(sql, { jobId: cancelled, by: 'test', reason: 'not needed' });
  const running = await runningJob(sql, tenantId);
  const queued = await claimJob(sql, await addJob(sql, tenantId));
  const refused = await claimJob(sql, await addJob(sql, tenantId));
  const handedBack = await runningJob(sql, tenantId);
  await finish(sql, handedBack, {
    toState: 'pending',
    countsAttempt: false,
    detail: { reason: 'worker stopped' },
  });
  const pending = await addJob(sql, tenantId);
  await addJob(sql, tenantId, { runAt: new Date(Date.now() + 3_600_000) });
  const dispatched = await claimWaitingJobs(sql, [{ jobType: step, capacity: 0 }]);
  if (dispatched.length > 0) throw new Error('nothing was to be dispatched');
  return {
    pending,
    queued: queued.jobId,
    running: running.jobId,
    failed: failed.jobId,
    parked: parked.jobId,
    completed: completed.jobId,
    dead_letter: dead.jobId,
    cancelled,
    handedBack: handedBack.jobId,
    refusedByWorker: refused.jobId,
  };
}
