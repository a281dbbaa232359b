/**
 * What operators do with a batch: each writes its state and the row of the act, and the schedulers do the rest. A
 * repetition that changes nothing is no act.
 */
import type { Sql, Tx } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import { performAct } from '../audit.ts';
import type { Operator } from '../audit.ts';
import { lockBatch, operatorColumns } from './batch.ts';
import type { Batch, BatchState } from './batch.ts';
import { checkPace, checkReason } from './checks.ts';
import { recordedFilter } from './filter.ts';

export interface BatchOrder {
  readonly batchId: string;
  readonly reason: string;
}

export interface StartOrder extends BatchOrder {
  /** Of all schedulers together; from 1 to 1,000. */
  readonly perSecond: number;
}

export interface ResumeOrder extends BatchOrder {
  /** Default: as before. */
  readonly perSecond?: number | undefined;
}

/** Starts a preview. Throws `batch_state`, `batch_empty`, `preview_expired`, `invalid_pace` and as `stopBatch`. */
export async function startBatch(
  sql: Sql | Tx,
  operator: Operator,
  { batchId, perSecond, reason }: StartOrder,
): Promise<Batch> {
  checkPace(perSecond);
  return change(sql, operator, 'batch_start', { batchId, reason }, async (tx, batch) => {
    if (batch.state !== 'previewed') throw wrongState(batch, 'start', ['previewed']);
    if (batch.members === 0) {
      throw new PurserError('batch_empty', `batch ${batchId} has no jobs; preview another filter`, {
        status: 409,
      });
    }
    if (await hasExpired(tx, batchId)) {
      throw new PurserError(
        'preview_expired',
        `the preview of batch ${batchId} expired at ${batch.expiresAt.toISOString()}; preview again`,
        { status: 409 },
      );
    }
    await writeStart(tx, operator, { batchId, perSecond, reason });
  });
}

/** No member is executed after it returns. Throws `unknown_batch`, `invalid_reason` or `batch_state`. */
export async function stopBatch(
  sql: Sql | Tx,
  operator: Operator,
  order: BatchOrder,
): Promise<Batch> {
  return change(sql, operator, 'batch_stop', order, async (tx, batch) => {
    if (batch.state === 'stopped') return;
    if (batch.state !== 'running') throw wrongState(batch, 'stop', ['running']);
    await writeState(tx, order.batchId, 'stopped');
  });
}

/** Goes on with a stopped batch, at another pace if one is given. Throws `invalid_pace` and as `stopBatch`. */
export async function resumeBatch(
  sql: Sql | Tx,
  operator: Operator,
  { perSecond, ...order }: ResumeOrder,
): Promise<Batch> {
  if (perSecond !== undefined) checkPace(perSecond);
  return change(sql, operator, 'batch_resume', order, async (tx, batch) => {
    if (batch.state !== 'stopped' && batch.state !== 'running') {
      throw wrongState(batch, 'resume', ['stopped']);
    }
    await writeState(tx, order.batchId, 'running', perSecond);
  });
}

/**
 * Takes back what has not begun: members that were not executed are released; the new job of a replay that has not begun
 * is cancelled and its original can be replayed again; a discarded dead letter is listed again. A cancelled job stays
 * cancelled. The schedulers do it: the state is `undoing` until it is `undone`. Throws as `stopBatch`.
 */
export async function undoBatch(
  sql: Sql | Tx,
  operator: Operator,
  order: BatchOrder,
): Promise<Batch> {
  return change(sql, operator, 'batch_undo', order, async (tx, batch) => {
    if (batch.state === 'undoing') return;
    const from: readonly BatchState[] = ['running', 'stopped', 'completed'];
    if (!from.includes(batch.state)) throw wrongState(batch, 'undo', from);
    await writeUndo(tx, operator, order);
  });
}

/** Runs `write` under the lock of the batch, and records what it changed. */
async function change(
  sql: Sql | Tx,
  operator: Operator,
  act: string,
  { batchId, reason }: BatchOrder,
  write: (tx: Tx, batch: Batch) => Promise<void>,
): Promise<Batch> {
  checkReason(reason);
  return performAct(sql, operator, async (tx) => {
    const before = await lockBatch(tx, batchId);
    await write(tx, before);
    const result = await lockBatch(tx, batchId);
    const { tenantId, jobType } = before.filter;
    const target = { batchId, act: before.act, filter: recordedFilter(before.filter) };
    return {
      result,
      act: {
        act,
        tenantId,
        jobType,
        target,
        reason,
        affected: act === 'batch_start' ? result.members : result.waiting,
        before: valuesOf(before),
        after: valuesOf(result),
      },
    };
  });
}

const valuesOf = ({ state, perSecond, waiting, done, skipped, undone }: Batch) => ({
  state,
  perSecond,
  waiting,
  done,
  skipped,
  undone,
});

function wrongState(
  { batchId, state }: Batch,
  verb: string,
  from: readonly BatchState[],
): PurserError {
  return new PurserError(
    'batch_state',
    `batch ${batchId} is ${state}; ${verb} takes one that is ${from.join(' or ')}`,
    { status: 409, details: { state } },
  );
}

async function hasExpired(tx: Tx, batchId: string): Promise<boolean> {
  const expired = await tx`
    select from purser.batches where id = ${batchId} and expires_at <= clock_timestamp()`;
  return expired.length > 0;
}

async function writeStart(
  tx: Tx,
  operator: Operator,
  { batchId, perSecond, reason }: StartOrder,
): Promise<void> {
  const { by, proof, host, door } = operatorColumns(operator);
  await tx`
    update purser.batches
    set state = 'running', per_second = ${perSecond}, by = ${by}, proof = ${proof}, host = ${host}, door = ${door},
      reason = ${reason}, started_at = clock_timestamp(), next_at = clock_timestamp()
    where id = ${batchId}`;
}

async function writeState(
  tx: Tx,
  batchId: string,
  state: 'running' | 'stopped',
  perSecond?: number,
): Promise<void> {
  await tx`
    update purser.batches set state = ${state}, per_second = coalesce(${perSecond ?? null}, per_second)
    where id = ${batchId}`;
}

/** From the first member on. */
async function writeUndo(
  tx: Tx,
  operator: Operator,
  { batchId, reason }: BatchOrder,
): Promise<void> {
  const { by, proof, host, door } = operatorColumns(operator);
  await tx`
    update purser.batches
    set state = 'undoing', by = ${by}, proof = ${proof}, host = ${host}, door = ${door}, reason = ${reason},
      ended_at = null, last_job_id = 0, next_at = clock_timestamp()
    where id = ${batchId}`;
}
