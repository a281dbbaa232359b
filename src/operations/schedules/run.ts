/** A run of a schedule by an operator, beside its ticks. */
import type { Sql, Tx } from '../../db/connect.ts';
import { enqueue } from '../../jobs/enqueue.ts';
import { performAct } from '../audit.ts';
import type { Operator } from '../audit.ts';
import { findTenantSchedule } from './target.ts';

/** Returns the job. Throws `unknown_job_type`, `unknown_tenant`, `unknown_schedule` and what `enqueue` throws. */
export async function runScheduleAs(
  sql: Sql | Tx,
  operator: Operator,
  {
    jobType,
    tenantId,
    reason,
  }: { readonly jobType: string; readonly tenantId: string; readonly reason?: string | undefined },
): Promise<string> {
  return performAct(sql, operator, async (tx) => {
    await findTenantSchedule(tx, { jobType, cohort: null, tenantId });
    const { jobId } = await enqueue(tx, { tenantId, jobType, payload: {} });
    const change = { jobIds: [jobId], before: null, after: { jobId } };
    return { result: jobId, act: { act: 'schedule_run', tenantId, jobType, reason, ...change } };
  });
}
