/**
 * Reserves the worst-case cost of one request before it is sent. Under any concurrency no new admission exceeds
 * a hard limit, and an attempt that ended cannot reserve.
 */
import { PurserError } from '../errors.ts';
import type { Queryable } from '../db/connect.ts';
import { unknownName } from '../names.ts';
import { BudgetExceededError } from './budget-exceeded.ts';
import { formatUsd, parseUsd } from './money.ts';
import type { PinnedPrice } from './pinned-price.ts';
import { lockTimeout } from '../db/row-faults.ts';
import { mayBeLost } from '../jobs/commit-policy.ts';
import { mapStoreErrors } from '../db/store-errors.ts';

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
  /** After this the hold expires: released if it was never sent, else unknown. */
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
  /** True when this key was reserved before; the request may have been sent. */
  readonly replayed: boolean;
  readonly sentAt: Date | null;
  readonly expiresAt: Date;
  readonly holdNanoUsd: bigint;
  /** Admitted beyond a soft limit. */
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
 * One function call in one transaction, which should be its own: its commit does not wait for the disk. Throws `BudgetExceededError` (402),
 * `stale_token`, `idempotency_conflict` (409: the key belongs to another request), `unknown_tenant`, or
 * `store_unavailable` (503). A missing budget is created from the tenant's plan.
 */
export async function checkAndReserve(
  sql: Queryable,
  request: ReserveRequest,
): Promise<Reservation> {
  const row = await mapStoreErrors('reserve money', () => reserveHold(sql, request));
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
      `key ${idempotencyKey} of tenant ${tenantId} already belongs to another request; use a new key per request`,
      { status: 409, details: { tenantId, idempotencyKey, class: 'fatal' } },
    );
  }
  if (row.outcome === 'stale_token') {
    return new PurserError(
      'stale_token',
      `attempt ${attempt} of job ${jobId} is no longer running and cannot reserve`,
      { status: 409, details: { jobId, attempt } },
    );
  }
  return new PurserError(
    'unknown_tenant',
    `${unknownName('tenant', tenantId)}; add it first: purser tenants add ID --plan PLAN`,
    { status: 404, details: { class: 'fatal' } },
  );
}

/**
 * Answered before its commit is on disk. A crash of Postgres that loses it loses a hold whose request was not marked as
 * sent: that commit is later in the log and waits for the disk, and with it all before it. `markSent` then finds no
 * row, and nothing is sent. Whatever else has seen the hold, a refusal or a replay, is as safe with it as without it.
 */
async function reserveHold(sql: Queryable, request: ReserveRequest): Promise<ReserveRow> {
  const [row] = await sql<ReserveRow[]>`
    with ${lockTimeout(sql)}, ${mayBeLost(sql)}
    select r.* from lock_timeout t, commit_policy c, purser.budget_reserve(
      case when t.set_config is not null and c.set_config is not null then ${request.tenantId} end, ${request.jobId}::bigint, ${request.attempt}::integer,
      ${request.token}::uuid, ${request.idempotencyKey},
      ${formatUsd(request.holdNanoUsd)}::numeric,
      ${request.ttlMs}::double precision * interval '1 millisecond',
      ${request.provider}, ${request.model}, ${JSON.stringify(request.price)}::text::jsonb,
      ${request.now ?? null}::timestamptz) r`;
  if (row === undefined) throw new Error('purser.budget_reserve returned no row');
  return row;
}

/**
 * Records that the request is being sent. False when the hold has ended or was marked before: then the request
 * must not be sent.
 */
export async function markSent(
  sql: Queryable,
  request: { readonly reservationId: string; readonly now?: Date },
): Promise<boolean> {
  const marked = await mapStoreErrors(
    'mark a request as sent',
    () => sql`
      update llm_reservations set sent_at = coalesce(${request.now ?? null}::timestamptz, clock_timestamp())
      where id = ${request.reservationId} and status = 'RESERVED' and sent_at is null
        and expires_at > coalesce(${request.now ?? null}::timestamptz, clock_timestamp())`,
  );
  return marked.count === 1;
}
