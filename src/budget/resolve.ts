/** Resolves holds whose outcome is unknown, corrects settled costs, and raises a running period. */
import type { Queryable } from '../db/connect.ts';
import { mapStoreErrors } from '../db/store-errors.ts';
import { PurserError, UsageError } from '../errors.ts';
import type { BillItem } from './bill.ts';
import { costOfItems } from './bill.ts';
import { formatUsd, parseUsd } from './money.ts';
import { unknownTenant } from './scopes.ts';

export interface ResolveRequest {
  readonly reservationId: string;
  readonly costNanoUsd: bigint;
  /** Names what shows the cost, e.g. `invoice 2026-11 line 17`, of at most 200 characters. */
  readonly evidence: string;
  /** One per class; their sum, rounded up, is the cost. Default: one item for the whole. */
  readonly items?: readonly BillItem[] | undefined;
  readonly reason?: string | undefined;
  readonly by?: string | undefined;
  readonly now?: Date;
}

export interface Resolution {
  /**
   * `settled` from unknown or released, `adjusted` from another cost, `unchanged` where the cost was the same,
   * `repeated` where this evidence was recorded before.
   */
  readonly outcome: 'settled' | 'adjusted' | 'unchanged' | 'repeated';
  /** The cost before; undefined where none was settled. */
  readonly beforeNanoUsd: bigint | undefined;
}

interface ResolveRow {
  outcome: Resolution['outcome'] | 'conflict' | 'running' | 'unknown_reservation';
  cost_before_usd: string | null;
}

/**
 * Settles an unknown hold at the cost that `evidence` shows, or corrects a settled cost by an entry of the ledger; once
 * per evidence. Throws `idempotency_conflict` (409) where this evidence was recorded with another cost,
 * `hold_running` (409) while the call may still end by itself, and `unknown_reservation` (404).
 */
export async function resolveUnknown(sql: Queryable, request: ResolveRequest): Promise<Resolution> {
  const { reservationId, costNanoUsd, evidence, items, reason, by, now } = request;
  if (evidence === '' || evidence.length > 200) {
    throw new UsageError('evidence must be named in 1 to 200 characters');
  }
  if (items !== undefined && costOfItems(items) !== costNanoUsd) {
    throw new UsageError('the items do not add up to the cost');
  }
  const [row] = await mapStoreErrors(
    'resolve a hold',
    () => sql<ResolveRow[]>`
      select outcome, cost_before_usd from purser.budget_resolve(${reservationId}::uuid, ${evidence},
        ${formatUsd(costNanoUsd)}::numeric, ${items === undefined ? null : JSON.stringify(items)}::text::jsonb,
        ${reason ?? null}::text, ${by ?? null}::text, ${now ?? null}::timestamptz)`,
  );
  if (row === undefined) throw new Error('purser.budget_resolve returned no row');
  const { outcome } = row;
  if (outcome === 'unknown_reservation' || outcome === 'running' || outcome === 'conflict') {
    throw refusalOf(outcome, request);
  }
  return {
    outcome,
    beforeNanoUsd: row.cost_before_usd === null ? undefined : parseUsd(row.cost_before_usd),
  };
}

function refusalOf(
  outcome: 'conflict' | 'running' | 'unknown_reservation',
  { reservationId, evidence }: ResolveRequest,
): PurserError {
  const details = { reservationId, class: 'fatal' };
  if (outcome === 'running') {
    return new PurserError(
      'hold_running',
      `reservation ${reservationId} is still held; it ends with its call, or when it expires`,
      { status: 409, details },
    );
  }
  return outcome === 'conflict'
    ? new PurserError(
        'idempotency_conflict',
        `evidence "${evidence}" was recorded for reservation ${reservationId} with another cost, which is kept`,
        { status: 409, details },
      )
    : new PurserError(
        'unknown_reservation',
        `no reservation ${reservationId}; it belongs to another database or a deleted tenant`,
        { status: 404, details },
      );
}

/** Settles at the hold what has been unknown for longer than `afterMs`, marked as assumed. Returns how many. */
export async function assumeUnknown(
  sql: Queryable,
  request: { readonly afterMs: number; readonly limit: number; readonly now?: Date },
): Promise<number> {
  const [row] = await mapStoreErrors(
    'settle unknown holds',
    () => sql<{ assumed: number }[]>`
      select purser.budget_assume(${request.afterMs}::double precision * interval '1 millisecond', ${request.limit},
        ${request.now ?? null}::timestamptz) as assumed`,
  );
  return row?.assumed ?? 0;
}

/** Adds `usd` to the tenant's running month alone. Parked jobs that fit then wake. */
export async function topUpMonth(
  sql: Queryable,
  request: {
    readonly tenantId: string;
    readonly usd: string;
    readonly reason: string;
    readonly by: string;
    readonly now?: Date;
  },
): Promise<void> {
  const amount = parseUsd(request.usd);
  if (amount <= 0n || amount >= 10n ** 18n) {
    throw new UsageError('a top-up is more than 0 and less than 10^9 USD, e.g. 5.00');
  }
  if (request.reason.trim() === '' || request.reason.length > 500) {
    throw new UsageError('a top-up has a reason of 1 to 500 characters');
  }
  const [row] = await mapStoreErrors(
    'top up a budget',
    () => sql<{ done: boolean }[]>`
      select purser.top_up(${request.tenantId}, null, null, ${formatUsd(amount)}::numeric, ${request.reason},
        ${request.by}, ${request.now ?? null}::timestamptz) as done`,
  );
  if (row?.done !== true) throw unknownTenant(request.tenantId);
}
