/**
 * Batches as they stand: an act on each job that a filter took at the preview. What operators do with one is in acts.ts;
 * schedulers execute them, see step.ts.
 */
import type { Queryable, Tx } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import { isJobId } from '../../job-id.ts';
import type { JobFilter } from '../../jobs/search/filter.ts';
import type { Operator } from '../audit.ts';
import { readFilter } from './filter.ts';
import type { BatchAct, StoredFilter } from './filter.ts';

/**
 * previewed: nothing is done before it is started. stopped: until it is resumed. completed: every member was met.
 * undoing: what has not begun is taken back. undone: that has ended.
 */
export type BatchState = 'previewed' | 'running' | 'stopped' | 'completed' | 'undoing' | 'undone';

export interface Batch {
  readonly batchId: string;
  readonly act: BatchAct;
  readonly filter: JobFilter;
  readonly state: BatchState;
  /** null until it is started. */
  readonly perSecond: number | null;
  /** Jobs that it took at the preview. */
  readonly members: number;
  /** The filter took more jobs; those with the highest ids were left out. */
  readonly isCut: boolean;
  readonly waiting: number;
  readonly done: number;
  /** What did not apply any more, such as a dead letter that was replayed meanwhile. */
  readonly skipped: number;
  readonly undone: number;
  /** The name of the operator who previewed it, then who started it, then who undid it. */
  readonly by: string;
  readonly reason: string | null;
  readonly createdAt: Date;
  /** When a preview that is not started is removed. */
  readonly expiresAt: Date;
  readonly startedAt: Date | null;
  readonly endedAt: Date | null;
}

export interface BatchDetails extends Batch {
  /**
   * Why members were skipped (`replayed`, `discarded`, `undone_replay`, `not_ended`, `ended`, `gone`, `refused: ...`), were
   * only asked for (`requested`: a running job) or could not be undone (`begun`).
   */
  readonly reasons: readonly { readonly why: string; readonly members: number }[];
}

type BatchRow = Omit<Batch, 'filter'> & { readonly filter: StoredFilter };

const columns = (sql: Queryable) => sql`
  b.id as "batchId", b.act, b.filter, b.state, b.per_second as "perSecond", b.members, b.is_cut as "isCut",
  b.members - b.done - b.skipped - b.undone as waiting, b.done, b.skipped, b.undone, b.by, b.reason,
  b.created_at as "createdAt", b.expires_at as "expiresAt", b.started_at as "startedAt", b.ended_at as "endedAt"`;

const batchFrom = ({ filter, ...row }: BatchRow): Batch => ({ ...row, filter: readFilter(filter) });

export function unknownBatch(batchId: string): PurserError {
  const text = isJobId(batchId)
    ? `there is no batch ${batchId}; a preview that is not started within an hour is removed`
    : `a batch id is a whole number, not ${JSON.stringify(batchId.slice(0, 60))}`;
  return new PurserError('unknown_batch', text, { status: 404 });
}

/** Throws `unknown_batch`. */
export async function batchOf(sql: Queryable, batchId: string): Promise<BatchDetails> {
  if (!isJobId(batchId)) throw unknownBatch(batchId);
  const [row] = await sql<BatchRow[]>`
    select ${columns(sql)} from purser.batches b where b.id = ${batchId}`;
  if (row === undefined) throw unknownBatch(batchId);
  const reasons = await sql<{ why: string; members: number }[]>`
    select m.why, count(*)::int as members from purser.batch_members m
    where m.batch_id = ${batchId} and m.why is not null
    group by m.why order by count(*) desc, m.why`;
  return { ...batchFrom(row), reasons };
}

export interface BatchPage {
  readonly limit: number;
  /** The id of the last one of the page before. */
  readonly beforeId?: string | undefined;
}

/** Newest first, previews among them. Throws `invalid_cursor`. */
export async function listBatches(
  sql: Queryable,
  { limit, beforeId }: BatchPage,
): Promise<Batch[]> {
  if (beforeId !== undefined && !isJobId(beforeId)) {
    throw new PurserError(
      'invalid_cursor',
      'the cursor is none of this list; begin anew without it',
      { status: 400 },
    );
  }
  const rows = await sql<BatchRow[]>`
    select ${columns(sql)} from purser.batches b
    where ${beforeId ?? null}::bigint is null or b.id < ${beforeId ?? null}
    order by b.id desc limit ${limit}`;
  return rows.map(batchFrom);
}

/** The batch, whose row stays locked: no step of it is executed meanwhile. Throws `unknown_batch`. */
export async function lockBatch(tx: Tx, batchId: string): Promise<Batch> {
  if (!isJobId(batchId)) throw unknownBatch(batchId);
  const [row] = await tx<BatchRow[]>`
    select ${columns(tx)} from purser.batches b where b.id = ${batchId} for update`;
  if (row === undefined) throw unknownBatch(batchId);
  return batchFrom(row);
}

/** The columns that keep who acts, for the row of the batch. */
export const operatorColumns = ({ name, proof, host, door }: Operator) => ({
  by: name,
  proof,
  host: host ?? null,
  door,
});
