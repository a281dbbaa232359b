/**
 * Reserves the worst-case cost of one request before it is sent. Under any concurrency no new admission exceeds
 * a hard limit, and an attempt that ended cannot reserve.
 */
import type { Queryable } from '../db/connect.ts';
import { formatUsd, parseUsd } from './money.ts';
import type { PinnedPrice } from './pinned-price.ts';
import { refusalOf, stoppedError } from './refusals.ts';
import type { ReservationStatus, ReserveRow } from './refusals.ts';
import { lockTimeout } from '../db/row-faults.ts';
import { mayBeLost } from '../jobs/commit-policy.ts';
import { mapStoreErrors } from '../db/store-errors.ts';

/** A form of a request that may be sent, and the worst that it costs. */
export interface Rung {
  readonly provider: string;
  readonly model: string;
  readonly price: PinnedPrice;
  readonly holdNanoUsd: bigint;
  readonly maxOutputTokens?: number | undefined;
  /** Allows a smaller cap, down to `minOutputTokens`, where the hold of the whole does not fit. */
  readonly smaller?: SmallerOutput | undefined;
}

/** The credential of a call that names none. */
export const platformKey = 'platform';

export interface SmallerOutput {
  readonly minOutputTokens: number;
  /** Exact decimal USD: what the request costs at most without its output. */
  readonly fixedUsd: string;
  /** Exact decimal USD per million tokens of output, at the rate of the hold. */
  readonly outputUsdPerMtok: string;
}

export interface ReserveRequest extends Rung {
  /** Tried in their order where the request itself does not fit. */
  readonly fallbacks?: readonly Rung[] | undefined;
  /** The name of the credential that pays, which a scope may limit. Default `platform`. */
  readonly providerKey?: string | undefined;
  /** The tenant's own user that the call is made for, which a scope may limit. */
  readonly endUser?: string | undefined;
  readonly tenantId: string;
  readonly jobId: string;
  readonly attempt: number;
  /** The running attempt's token; any other is refused with `stale_token`. */
  readonly token: string;
  /** Unique per HTTP attempt of this tenant. The same key with the same request is the same reservation. */
  readonly idempotencyKey: string;
  /** After this the hold expires: released if it was never sent, else unknown. */
  readonly ttlMs: number;
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
  /** What may be sent: 0 is the request itself, 1 its first fallback. */
  readonly rung: number;
  readonly holdNanoUsd: bigint;
  /** The cap that fits; the request must carry it. */
  readonly maxOutputTokens: number | undefined;
  /** Admitted beyond a soft limit. */
  readonly overLimit: boolean;
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
    rung: row.rung - 1,
    holdNanoUsd: parseUsd(row.hold_usd),
    maxOutputTokens: row.max_output_tokens === null ? undefined : Number(row.max_output_tokens),
    overLimit: row.over_limit === true,
  };
}

/** The forms of a request, in the order of their choice, as `purser.budget_reserve` takes them. */
export const rungsOf = (request: ReserveRequest): readonly object[] =>
  [request, ...(request.fallbacks ?? [])].map(columnsOf);

function columnsOf({ provider, model, price, holdNanoUsd, maxOutputTokens, smaller }: Rung) {
  return {
    provider,
    model,
    price,
    hold_usd: formatUsd(holdNanoUsd),
    ...(maxOutputTokens === undefined ? {} : { max_output_tokens: maxOutputTokens }),
    ...(smaller === undefined
      ? {}
      : {
          min_output_tokens: smaller.minOutputTokens,
          fixed_usd: smaller.fixedUsd,
          output_usd_per_mtok: smaller.outputUsdPerMtok,
        }),
  };
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
      ${request.ttlMs}::double precision * interval '1 millisecond',
      ${request.providerKey ?? platformKey}, ${request.endUser ?? null}::text,
      ${JSON.stringify(rungsOf(request))}::text::jsonb, ${request.now ?? null}::timestamptz) r`;
  if (row === undefined) throw new Error('purser.budget_reserve returned no row');
  return row;
}

/**
 * Records that the request is being sent. False when the hold has ended or was marked before: then the request must
 * not be sent. Throws `llm_stopped` where an operator has stopped such calls since the reserve.
 */
export async function markSent(
  sql: Queryable,
  request: { readonly reservationId: string; readonly now?: Date },
): Promise<boolean> {
  const [row] = await mapStoreErrors(
    'mark a request as sent',
    () => sql<MarkRow[]>`
      select * from purser.budget_mark_sent(${request.reservationId}::uuid, ${request.now ?? null}::timestamptz)`,
  );
  if (row?.outcome === 'stopped') {
    const { tenant_id: tenantId, provider, model, hold_usd: neededUsd } = row;
    throw stoppedError({ tenantId, provider, model, neededUsd });
  }
  return row?.outcome === 'sent';
}

interface MarkRow {
  outcome: 'sent' | 'stopped' | 'ended';
  tenant_id: string;
  provider: string;
  model: string;
  hold_usd: string;
}
