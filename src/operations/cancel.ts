/** Cancelling a job by an operator. */
import type { Queryable, Sql, Tx } from '../db/connect.ts';
import { requestCancel } from '../jobs/cancel.ts';
import type { CancelAnswer } from '../jobs/cancel.ts';
import { performAct } from './audit.ts';
import type { Operator } from './audit.ts';
import { jobNamed } from './job-named.ts';

/**
 * Cancels a job that waits, or asks the worker of one that runs. A job that has ended, and one that was asked before,
 * is no act, so that the request can be repeated until the job has ended. Throws `unknown_job`.
 */
export async function cancelAs(
  sql: Sql | Tx,
  operator: Operator,
  { jobId, reason }: { readonly jobId: string; readonly reason: string },
): Promise<CancelAnswer> {
  return performAct(sql, operator, async (tx) => {
    const result = await requestCancel(tx, { jobId, by: operator.name, reason });
    const isNew =
      result.outcome === 'cancelled' ||
      (result.outcome === 'requested' && (await askedHere(tx, jobId)));
    if (!isNew) return { result };
    const act = {
      act: 'cancel',
      ...(await jobNamed(tx, jobId)),
      target: { jobId },
      reason,
      jobIds: [jobId],
      before: { state: result.outcome === 'cancelled' ? 'waiting' : 'running' },
      after: { state: result.state, requested: result.outcome === 'requested' },
    };
    return { result, act };
  });
}

/** Whether this transaction has stored the request: its time is that of the transaction. */
async function askedHere(tx: Queryable, jobId: string): Promise<boolean> {
  const found = await tx`
    select from purser.in_flight
    where job_id = ${jobId} and (cancel_requested->>'at')::timestamptz = now()`;
  return found.length > 0;
}
