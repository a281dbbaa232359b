/**
 * Ends a hold exactly once: charged at the actual cost, released, or kept charged as unknown. Safe to repeat and
 * to call concurrently; a late settlement of a hold that has ended is still recorded.
 */
import { PurserError } from '../errors.ts';
import type { Queryable } from '../db/connect.ts';
import { costOfItems } from './bill.ts';
import type { BillItem } from './bill.ts';
import { formatUsd, parseUsd } from './money.ts';
import { mapStoreErrors } from '../db/store-errors.ts';

export interface SettleRequest {
  readonly reservationId: string;
  /** One per class. Their sum, rounded up, is the cost. */
  readonly items: readonly BillItem[];
  /** The model and service tier that answered, where the provider names them. */
  readonly servedModel?: string | undefined;
  readonly serviceTier?: string | undefined;
  /** What was used and has no rate in the price. */
  readonly uncovered?: readonly string[];
  /** The id that the provider gave the request. */
  readonly requestId?: string | undefined;
  readonly now?: Date;
}

export interface Settlement {
  /** False when the same settlement was recorded before. */
  readonly applied: boolean;
  readonly holdNanoUsd: bigint;
  /** Cost beyond the hold; charged in full. */
  readonly overageNanoUsd: bigint;
}

interface SettleRow {
  outcome: 'settled' | 'replayed' | 'conflict' | 'unknown_reservation';
  overage_usd: string;
  hold_usd: string;
}

/**
 * Releases the stored hold and charges the actual cost into the reservation's own period, in one
 * transaction, and waits until it is on disk. Idempotent; other figures for a settled reservation are `idempotency_conflict` (409).
 * Needs no attempt token: money that was spent is recorded whatever became of the attempt.
 */
export async function recordUsage(sql: Queryable, request: SettleRequest): Promise<Settlement> {
  const row = await mapStoreErrors('record usage', () => settleHold(sql, request));
  if (row.outcome === 'settled' || row.outcome === 'replayed') {
    return {
      applied: row.outcome === 'settled',
      holdNanoUsd: parseUsd(row.hold_usd),
      overageNanoUsd: parseUsd(row.overage_usd),
    };
  }
  if (row.outcome === 'conflict') {
    throw new PurserError(
      'idempotency_conflict',
      `reservation ${request.reservationId} was settled before with other figures, which are kept`,
      { status: 409, details: { reservationId: request.reservationId, class: 'fatal' } },
    );
  }
  throw new PurserError(
    'unknown_reservation',
    `no reservation ${request.reservationId}; it belongs to another database or a deleted tenant`,
    { status: 404, details: { reservationId: request.reservationId, class: 'fatal' } },
  );
}

async function settleHold(sql: Queryable, request: SettleRequest): Promise<SettleRow> {
  const {
    reservationId,
    items,
    servedModel,
    serviceTier,
    uncovered = [],
    requestId,
    now,
  } = request;
  const values = sql`
    ${reservationId}::uuid, ${formatUsd(costOfItems(items))}::numeric, ${JSON.stringify(items)}::text::jsonb,
    ${servedModel ?? null}::text, ${serviceTier ?? null}::text, ${[...uncovered]}::text[],
    ${requestId ?? null}::text, ${now ?? null}::timestamptz`;
  const [row] = isPool(sql)
    ? await sql<SettleRow[]>`
        call purser.budget_settle_durably(${values}, null::text, null::numeric, null::numeric)`
    : await sql<SettleRow[]>`select * from purser.budget_settle(${values})`;
  if (row === undefined) throw new Error('purser.budget_settle returned no row');
  return row;
}

interface CloseRequest {
  readonly reservationId: string;
  /** The id that the provider gave the request, where an answer began. */
  readonly requestId?: string | undefined;
  /** Of an answer that broke off: the tokens of output that arrived, a lower bound of those that are billed. */
  readonly receivedOutputTokens?: number | undefined;
  readonly now?: Date;
}

/** Releases the hold: the request was certainly not billed. False when the hold had ended. */
export async function releaseReservation(sql: Queryable, request: CloseRequest): Promise<boolean> {
  return closeHold(sql, request, 'RELEASED');
}

/** Keeps the hold charged: the request was sent and its cost is unknown. False when the hold had ended. */
export async function markUnknown(sql: Queryable, request: CloseRequest): Promise<boolean> {
  return closeHold(sql, request, 'UNKNOWN');
}

async function closeHold(
  sql: Queryable,
  request: CloseRequest,
  status: 'RELEASED' | 'UNKNOWN',
): Promise<boolean> {
  return mapStoreErrors('end a reservation', async () => {
    const values = sql`
      ${request.now ?? null}::timestamptz, ${request.requestId ?? null}::text,
      ${request.receivedOutputTokens ?? null}::bigint`;
    const [row] = isPool(sql)
      ? await sql<{ closed: boolean }[]>`
          call purser.budget_close_durably(${request.reservationId}::uuid, ${status}, ${values}, null::boolean)`
      : await sql<{ closed: boolean }[]>`
          select true as closed
          from purser.budget_close(array[${request.reservationId}]::uuid[], ${status}, ${values})`;
    return row?.closed === true;
  });
}

/** A procedure that commits cannot be called in a transaction, whose own commit waits for the disk. */
const isPool = (sql: Queryable): boolean => 'begin' in sql;
