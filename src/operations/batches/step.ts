/**
 * The schedulers' part of batches. A step is one transaction over a few members, under the lock of the row of the batch:
 * whatever process dies, the members of a step are executed as a whole or not at all, and the next step goes on behind
 * them, in any process.
 */
import type { Sql, Tx } from '../../db/connect.ts';
import { recordAct } from '../audit.ts';
import type { Operator } from '../audit.ts';
import { lockBatch } from './batch.ts';
import type { BatchState } from './batch.ts';
import { recordedFilter } from './filter.ts';

/** Each replay is a subtransaction, of which a server keeps 64 of a transaction at hand. */
const maxPerStep = 50;
const maxJobIds = 1_000;

export interface BatchStep {
  /** Members that were executed, skipped or undone. */
  readonly changed: number;
  /** There is a batch that runs or is undone. */
  readonly isActive: boolean;
  /** The step failed as a whole, with this SQLSTATE. It changed nothing, and is tried again after a second. */
  readonly fault?: { readonly batchId: string; readonly code: string } | undefined;
}

/** One step of the batch that is due first, if there is one. The step that ends a batch writes its closing act. */
export async function stepBatches(sql: Sql): Promise<BatchStep> {
  return sql.begin(async (tx) => {
    const { batchId, state, changed, isActive, code } = await stepBatch(tx);
    const isOver = state === 'completed' || state === 'undone';
    if (batchId !== null && isOver) await recordEnd(tx, batchId);
    const fault = batchId === null || code === null ? undefined : { batchId, code };
    return { changed, isActive, fault };
  });
}

interface StepRow extends Omit<BatchStep, 'fault'> {
  /** null: none was due. */
  readonly batchId: string | null;
  readonly state: BatchState | null;
  readonly code: string | null;
}

async function stepBatch(tx: Tx): Promise<StepRow> {
  const [row] = await tx<StepRow[]>`
    select step_batch_id as "batchId", step_state as state, changed, active as "isActive", fault as code
    from purser.step_batch(${maxPerStep})`;
  return row ?? { batchId: null, state: null, changed: 0, isActive: false, code: null };
}

/** By the operator who started the batch, or undid it. */
async function recordEnd(tx: Tx, batchId: string): Promise<void> {
  const { act, filter, state, members, done, skipped, undone, reason } = await lockBatch(
    tx,
    batchId,
  );
  const { tenantId, jobType } = filter;
  await recordAct(tx, await operatorOf(tx, batchId), {
    act: 'batch_end',
    tenantId,
    jobType,
    target: { batchId, act, filter: recordedFilter(filter) },
    reason: reason ?? undefined,
    affected: state === 'undone' ? undone : done,
    jobIds: await jobIdsOf(tx, batchId, state === 'undone' ? 'undone' : 'done'),
    before: null,
    after: { state, members, done, skipped, undone },
  });
}

async function operatorOf(tx: Tx, batchId: string): Promise<Operator> {
  const [operator] = await tx<(Omit<Operator, 'host'> & { host: string | null })[]>`
    select by as name, proof, door, host from purser.batches where id = ${batchId}`;
  if (operator === undefined) throw new Error(`batch ${batchId} is not there`);
  return { ...operator, host: operator.host ?? undefined };
}

async function jobIdsOf(tx: Tx, batchId: string, state: 'done' | 'undone'): Promise<string[]> {
  const rows = await tx<{ jobId: string }[]>`
    select job_id as "jobId" from purser.batch_members
    where batch_id = ${batchId} and state = ${state} order by job_id limit ${maxJobIds}`;
  return rows.map(({ jobId }) => jobId);
}

/** Removes the oldest preview that was not started in time, with its members. Returns how many it removed. */
export async function removeExpiredPreviews(sql: Sql): Promise<number> {
  const [row] = await sql<{ removed: number }[]>`
    with expired as (
      select b.id from purser.batches b where b.state = 'previewed' and b.expires_at < now()
      order by b.expires_at limit 1 for update skip locked
    ), gone as (
      delete from purser.batches b using expired e where b.id = e.id returning b.id
    ), members as (
      delete from purser.batch_members m using gone g where m.batch_id = g.id
    )
    select count(*)::int as removed from gone`;
  return row?.removed ?? 0;
}
