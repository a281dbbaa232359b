/** Single calls of the ledger: those that a log names, and those that it should have named. */
import type { Tx } from '../../../db/connect.ts';
import { attoOf } from '../amounts.ts';
import type { LedgerRange } from '../ledger.ts';
import { priceOfRow } from '../ledger.ts';
import type { PinnedPrice } from '../../pinned-price.ts';

/** One class of a call's usage. */
export interface CallItem {
  readonly class: string;
  readonly count: number;
  readonly usd: string | null;
  readonly per: number;
}

/** Amounts are in atto-USD. */
export interface LedgerCall {
  readonly id: string;
  readonly tenantId: string;
  readonly provider: string;
  readonly status: 'RESERVED' | 'APPLIED' | 'RELEASED' | 'UNKNOWN';
  /** The settled cost was assumed to be the hold. */
  readonly isAssumed: boolean;
  readonly hold: bigint;
  /** As charged; zero where nothing is settled. */
  readonly cost: bigint;
  /** Before it was rounded up. */
  readonly exact: bigint;
  readonly items: readonly CallItem[];
  readonly price: PinnedPrice;
}

interface CallRow {
  id: string;
  tenantId: string;
  provider: string;
  status: LedgerCall['status'];
  isAssumed: boolean;
  hold: string;
  cost: string;
  exact: string;
  items: CallItem[];
  price: unknown;
}

/** In any order; ids without a reservation are left out. */
export async function findCalls(tx: Tx, ids: readonly string[]): Promise<LedgerCall[]> {
  const rows = await tx<CallRow[]>`
    select r.id, r.tenant_id as "tenantId", r.provider, r.status, r.estimated_cost_usd as hold,
      coalesce(to_jsonb(u) ->> 'assumed', 'false') = 'true' as "isAssumed", coalesce(u.cost_usd, 0) as cost, r.price,
      coalesce(i.exact, 0) as exact, coalesce(i.items, '[]') as items
    from llm_reservations r
    left join llm_usage u on u.reservation_id = r.id
    left join lateral (
      select sum(s.amount_usd) as exact, jsonb_agg(jsonb_build_object(
        'class', s.class, 'count', s.count, 'usd', s.usd::text, 'per', s.per)) as items
      from llm_usage_items s where s.reservation_id = r.id) i on true
    where r.id = any(${[...ids]}::uuid[])`;
  return rows.map(({ hold, cost, exact, price, ...row }) => ({
    ...row,
    hold: attoOf(hold),
    cost: attoOf(cost),
    exact: attoOf(exact),
    price: priceOfRow(price),
  }));
}

/**
 * The reservations that keep these ids of the provider, by id. Read through the row, because the column is of a later
 * version: until then no reservation has one.
 */
export async function findRequestIds(
  tx: Tx,
  provider: string,
  requestIds: readonly string[],
): Promise<Map<string, string>> {
  if (requestIds.length === 0) return new Map();
  const rows = await tx<{ requestId: string; id: string }[]>`
    select to_jsonb(r) ->> 'request_id' as "requestId", r.id
    from llm_reservations r
    where r.provider = ${provider} and to_jsonb(r) ->> 'request_id' = any(${[...requestIds]}::text[])`;
  return new Map(rows.map(({ requestId, id }) => [requestId, id]));
}

/** A call that a complete log of its time must name. */
export interface ExpectedCall {
  readonly id: string;
  readonly tenantId: string;
  readonly isUnknown: boolean;
  /** Cost, or hold of unknown cost, in atto-USD. */
  readonly charged: bigint;
  /** Its whole life, up to its expiry, is within the range. */
  readonly isWithin: boolean;
}

/** In batches, so that a month of calls does not stand in memory. */
export async function* expectedCalls(
  tx: Tx,
  { provider, from, to }: LedgerRange,
): AsyncGenerator<ExpectedCall[], void, undefined> {
  const cursor = tx<
    { id: string; tenantId: string; isUnknown: boolean; charged: string; isWithin: boolean }[]
  >`
    select r.id, r.tenant_id as "tenantId", coalesce(u.cost_usd, r.estimated_cost_usd) as charged,
      r.status = 'UNKNOWN' or coalesce(to_jsonb(u) ->> 'assumed', 'false') = 'true' as "isUnknown",
      r.expires_at <= ${to} as "isWithin"
    from llm_reservations r left join llm_usage u on u.reservation_id = r.id
    where r.provider = ${provider} and r.provider_key not like 'own:%' and r.status in ('APPLIED', 'UNKNOWN')
      and coalesce(r.sent_at, r.created_at) >= ${from} and coalesce(r.sent_at, r.created_at) < ${to}
    order by r.id`.cursor(2_000);
  for await (const rows of cursor) {
    yield rows.map(({ charged, ...row }) => ({ ...row, charged: attoOf(charged) }));
  }
}
