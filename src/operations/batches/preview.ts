/**
 * The preview of a batch: writes its members once and for all, and says what starting it would do. Only one that is
 * started within an hour changes a job.
 */
import type { Fragment, Queryable, Sql, Tx } from '../../db/connect.ts';
import { deadLettersMatching } from '../../jobs/search/dead-letters.ts';
import type { JobFilter } from '../../jobs/search/filter.ts';
import { jobsMatching } from '../../jobs/search/matching-jobs.ts';
import { performAct } from '../audit.ts';
import type { Operator } from '../audit.ts';
import { operatorColumns } from './batch.ts';
import { checkReason, checkSize } from './checks.ts';
import { figuresOf } from './figures.ts';
import type { BatchFigures } from './figures.ts';
import { figuresText } from './stored-figures.ts';
import { checkFilter, recordedFilter, storedFilter } from './filter.ts';
import type { BatchAct } from './filter.ts';

/** Of one batch; the filter may take more. */
export const maxMembers = 100_000;
const expiresAfterMs = 3_600_000;

export interface PreviewRequest {
  readonly act: BatchAct;
  readonly filter: JobFilter;
  /** At most so many of the jobs that the filter takes, the oldest ones. Default and maximum: `maxMembers`. */
  readonly limit?: number | undefined;
  readonly reason?: string | undefined;
}

export interface BatchPreview extends BatchFigures {
  readonly batchId: string;
  readonly act: BatchAct;
  readonly jobs: number;
  /** The filter takes more jobs than the limit; those with the highest ids were left out. */
  readonly isCut: boolean;
  readonly expiresAt: Date;
}

/**
 * Takes dead letters (`state: 'cancelled'`: cancelled jobs that were not replayed) for replay, dead letters for discard, and
 * jobs that have not ended for cancel. Throws `invalid_filter`, `invalid_limit`, `invalid_reason`, `unknown_tenant` or
 * `unknown_job_type`.
 */
export async function previewBatch(
  sql: Sql | Tx,
  operator: Operator,
  { act, filter, limit = maxMembers, reason }: PreviewRequest,
): Promise<BatchPreview> {
  if (reason !== undefined) checkReason(reason);
  checkSize(limit, maxMembers);
  return performAct(sql, operator, async (tx) => {
    await checkFilter(tx, act, filter);
    const batch = { act, filter: storedFilter(filter), reason: reason ?? null };
    const { batchId, expiresAt } = await insertBatch(tx, operator, batch);
    const found = await freezeMembers(tx, batchId, limit, membersOf(tx, act, filter));
    const jobs = Math.min(found, limit);
    const isCut = found > limit;
    const figures = await figuresOf(tx, batchId, act);
    await setMembers(tx, batchId, { jobs, isCut, figures });
    const { tenantId, jobType } = filter;
    return {
      result: { batchId, act, jobs, isCut, expiresAt, ...figures },
      act: {
        act: 'batch_preview',
        tenantId,
        jobType,
        target: { batchId, act, filter: recordedFilter(filter), limit },
        reason,
        affected: 0,
        before: null,
        after: { state: 'previewed', jobs, isCut },
      },
    };
  });
}

/** A select of job_id, tenant_id and job_type. */
function membersOf(sql: Queryable, act: BatchAct, filter: JobFilter): Fragment {
  if (act === 'cancel') return jobsMatching(sql, filter, { isOpen: true });
  if (filter.state !== 'cancelled') return deadLettersMatching(sql, filter);
  return sql`
    select c.* from (${jobsMatching(sql, filter)}) c join public.jobs j on j.id = c.job_id
    where not coalesce(j.end_detail ? 'undone_replay_of', false)
      and not exists (select from public.jobs r where r.replay_of = j.id)`;
}

async function insertBatch(
  tx: Tx,
  operator: Operator,
  { act, filter, reason }: { act: BatchAct; filter: object; reason: string | null },
): Promise<{ batchId: string; expiresAt: Date }> {
  const { by, proof, host, door } = operatorColumns(operator);
  const [batch] = await tx<{ batchId: string; expiresAt: Date }[]>`
    insert into purser.batches (act, filter, reason, by, proof, host, door, expires_at)
    values (${act}, ${JSON.stringify(filter)}::text::jsonb, ${reason}, ${by}, ${proof}, ${host}, ${door},
      clock_timestamp() + ${expiresAfterMs} * interval '1 millisecond')
    returning id as "batchId", expires_at as "expiresAt"`;
  if (batch === undefined) throw new Error('an insert returned no row');
  return batch;
}

/** One statement, so that the members are those of one moment. Returns how many jobs it found, `limit` + 1 at most. */
async function freezeMembers(
  tx: Tx,
  batchId: string,
  limit: number,
  members: Fragment,
): Promise<number> {
  const [row] = await tx<{ found: number }[]>`
    with chosen as materialized (
      select m.job_id, m.tenant_id, m.job_type from (${members}) m order by m.job_id limit ${limit + 1}
    ), kept as (
      insert into purser.batch_members (batch_id, job_id, tenant_id, job_type)
      select ${batchId}::bigint, c.job_id, c.tenant_id, c.job_type from chosen c order by c.job_id limit ${limit}
    )
    select count(*)::int as found from chosen`;
  return row?.found ?? 0;
}

async function setMembers(
  tx: Tx,
  batchId: string,
  {
    jobs,
    isCut,
    figures,
  }: { readonly jobs: number; readonly isCut: boolean; readonly figures: BatchFigures },
): Promise<void> {
  await tx`
    update purser.batches
    set members = ${jobs}, is_cut = ${isCut}, figures = ${figuresText(figures)}::text::jsonb
    where id = ${batchId}`;
}
