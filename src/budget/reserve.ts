/**
 * Takes a hold for the worst case of one request before it leaves. Under any concurrency no new
 * admission passes a hard limit, and an attempt that ended cannot reserve.
 */
import { PurserError } from '../errors.ts';
import type { Queryable } from '../db/connect.ts';
import { BudgetExceededError } from './budget-exceeded.ts';
import { formatUsd, parseUsd } from './money.ts';
import type { PinnedPrice } from './prices.ts';
import { onStore } from './store.ts';

type ReservationStatus = 'RESERVED' | 'APPLIED' | 'RELEASED' | 'UNKNOWN';

export interface ReserveRequest {
  readonly tenantId: string;
  readonly jobId: string;
  readonly attempt: number;
  /** The running attempt's token; any other is refused with `stale_token`. */
  readonly token: string;
  /** Unique per HTTP attempt of this tenant. The same key with the same hold is the same reservation. */
  readonly idempotencyKey: string;
  readonly holdNanoUsd: bigint;
  /** After this the hold expires: released if it was never sent, unknown if it was. */
  readonly ttlMs: number;
  readonly provider: string;
  readonly model: string;
  readonly price: PinnedPrice;
  /** Default: the database's clock. It decides the period. */
  readonly now?: Date;
}

export interface Reservation {
  readonly reservationId: string;
  readonly status: ReservationStatus;
  /** True when this key was reserved before; then it may have been sent already. */
  readonly replayed: boolean;
  readonly sentAt: Date | null;
  readonly expiresAt: Date;
  readonly holdNanoUsd: bigint;
  /** A soft limit was passed: admitted, but somebody should know. */
  readonly overLimit: boolean;
}

interface ReserveRow {
  outcome: 'reserved' | 'replayed' | 'conflict' | 'refused' | 'stale_token' | 'unknown_tenant';
  reservation_id: string;
  status: ReservationStatus;
  sent_at: Date | null;
  expires_at: Date;
  limit_usd: string;
  used_usd: string;
  reserved_usd: string;
  resets_at: Date;
  over_limit: boolean | null;
}

/**
 * One function call, one transaction, nothing open afterwards. Throws `BudgetExceededError` (402),
 * `stale_token`, `idempotency_conflict` (409: the key holds something else), `unknown_tenant`, or
 * `budget_unavailable` (503). A missing budget is made from the tenant's plan.
 */
export async function checkAndReserve(
  sql: Queryable,
  request: ReserveRequest,
): Promise<Reservation> {
  const row = await onStore('reserve money', () => reserveHold(sql, request));
  if (row.outcome !== 'reserved' && row.outcome !== 'replayed') throw refusalOf(row, request);
  return {
    reservationId: row.reservation_id,
    status: row.status,
    replayed: row.outcome === 'replayed',
    sentAt: row.sent_at,
    expiresAt: row.expires_at,
    holdNanoUsd: request.holdNanoUsd,
    overLimit: row.over_limit === true,
  };
}

function refusalOf(row: ReserveRow, request: ReserveRequest): PurserError {
  const { tenantId, idempotencyKey, jobId, attempt } = request;
  if (row.outcome === 'refused') {
    return new BudgetExceededError({
      tenantId,
      limitNanoUsd: parseUsd(row.limit_usd),
      usedNanoUsd: parseUsd(row.used_usd),
      reservedNanoUsd: parseUsd(row.reserved_usd),
      neededNanoUsd: request.holdNanoUsd,
      resetsAt: row.resets_at,
    });
  }
  if (row.outcome === 'conflict') {
    return new PurserError(
      'idempotency_conflict',
      `key ${idempotencyKey} of tenant ${tenantId} already holds something else; use a new key per request`,
      { status: 409, details: { tenantId, idempotencyKey, class: 'fatal' } },
    );
  }
  if (row.outcome === 'stale_token') {
    return new PurserError(
      'stale_token',
      `attempt ${attempt} of job ${jobId} ended or was taken over; it may not spend`,
      { status: 409, details: { jobId, attempt } },
    );
  }
  return new PurserError(
    'unknown_tenant',
    `no tenant "${tenantId.slice(0, 200)}"; add it first: purser tenants add ID --plan PLAN`,
    { status: 404, details: { class: 'fatal' } },
  );
}

async function reserveHold(sql: Queryable, request: ReserveRequest): Promise<ReserveRow> {
  const [row] = await sql<ReserveRow[]>`
    select * from purser.budget_reserve(
      ${request.tenantId}, ${request.jobId}::bigint, ${request.attempt}::integer,
      ${request.token}::uuid, ${request.idempotencyKey},
      ${formatUsd(request.holdNanoUsd)}::numeric,
      ${request.ttlMs}::double precision * interval '1 millisecond',
      ${request.provider}, ${request.model}, ${JSON.stringify(request.price)}::text::jsonb,
      ${request.now ?? null}::timestamptz)`;
  if (row === undefined) throw new Error('purser.budget_reserve answered no row');
  return row;
}

/**
 * Says that the request leaves now. False when the hold is no longer open (expired or closed) or was
 * sent before: then it must not be sent.
 */
export async function markSent(
  sql: Queryable,
  request: { readonly reservationId: string; readonly now?: Date },
): Promise<boolean> {
  const marked = await onStore(
    'mark a request as sent',
    () => sql`
      update llm_reservations set sent_at = coalesce(${request.now ?? null}::timestamptz, clock_timestamp())
      where id = ${request.reservationId} and status = 'RESERVED' and sent_at is null
        and expires_at > coalesce(${request.now ?? null}::timestamptz, clock_timestamp())`,
  );
  return marked.count === 1;
}
