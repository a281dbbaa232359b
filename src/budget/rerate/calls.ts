/** Calls of one tenant whose cost is looked at again, page by page. */
import type { Sql } from '../../db/connect.ts';
import type { BillItem } from '../bill.ts';
import { parseUsd } from '../money.ts';
import type { PinnedPrice } from '../pinned-price.ts';

export interface CallFilter {
  /** The model as calls name it, or as its price does. */
  readonly model: string;
  /** `provider` of the pinned price. Default: of every one. */
  readonly provider?: string | undefined;
  /** Calls that were reserved from here on, and before `to`. */
  readonly from: Date;
  readonly to: Date;
}

export interface RatedCall {
  readonly id: string;
  readonly tenantId: string;
  /** First day of the month that was charged. */
  readonly month: string;
  readonly at: Date;
  readonly status: 'RESERVED' | 'APPLIED' | 'UNKNOWN';
  readonly model: string;
  readonly price: PinnedPrice;
  /** What is charged: the cost, or the hold where none is settled. */
  readonly chargedNanoUsd: bigint;
  readonly isAssumed: boolean;
  readonly items: readonly BillItem[];
  readonly uncovered: readonly string[];
  readonly servedModel: string | null;
  readonly serviceTier: string | null;
  /** Prices at which it was rated before, as evidence of adjustments, the newest last. */
  readonly rated: readonly string[];
}

interface CallRow extends Omit<RatedCall, 'chargedNanoUsd' | 'tenantId'> {
  readonly charged: string;
  /** With all its digits, which a Date has not. */
  readonly exactTime: string;
}

const pageSize = 500;

/** Tenants that were charged in a month of the range, by id. */
export async function listChargedTenants(sql: Sql, { from, to }: CallFilter): Promise<string[]> {
  const rows = await sql<{ tenantId: string }[]>`
    select distinct p.tenant_id as "tenantId" from llm_budget_periods p
    where p.period_start >= date_trunc('month', ${from}::timestamptz at time zone 'UTC')
      and p.period_start <= ${to}::timestamptz at time zone 'UTC'
    order by 1`;
  return rows.map(({ tenantId }) => tenantId);
}

/** By time; a call that begins while they are read may be left out. */
export async function* ratedCalls(
  sql: Sql,
  tenantId: string,
  filter: CallFilter,
): AsyncGenerator<RatedCall[], void, undefined> {
  const { model, provider, from, to } = filter;
  let last: { time: string; id: string } | undefined;
  for (;;) {
    const rows: CallRow[] = await sql<CallRow[]>`
      select r.id, r.period_start::text as month, r.created_at as at, r.created_at::text as "exactTime", r.status,
        r.model, r.price, coalesce(u.cost_usd, r.estimated_cost_usd) as charged, coalesce(u.assumed, false) as "isAssumed",
        i.items, coalesce(u.uncovered, '{}') as uncovered, u.served_model as "servedModel",
        u.service_tier as "serviceTier", array(
          select a.evidence from llm_adjustments a
          where a.reservation_id = r.id and a.evidence like 'price %' order by a.at) as rated
      from llm_reservations r
      left join llm_usage u on u.reservation_id = r.id
      cross join lateral (
        select coalesce(jsonb_agg(jsonb_build_object(
          'class', s.class, 'count', s.count, 'usd', s.usd::text, 'per', s.per)), '[]') as items
        from llm_usage_items s where s.reservation_id = r.id) i
      where r.tenant_id = ${tenantId} and r.created_at >= ${from} and r.created_at < ${to}
        and (r.created_at, r.id) > (${last?.time ?? '-infinity'}::text::timestamptz,
          ${last?.id ?? '00000000-0000-0000-0000-000000000000'}::uuid)
        and r.status <> 'RELEASED' and (r.model = ${model} or r.price ->> 'model' = ${model})
        and (${provider === undefined} or r.price ->> 'provider' = ${provider ?? null}::text)
        and r.price ->> 'source' in ('operator', 'genai-prices')
      order by r.created_at, r.id limit ${pageSize}`;
    const end = rows.at(-1);
    if (end === undefined) return;
    yield rows.map((row) => ({ ...row, tenantId, chargedNanoUsd: parseUsd(row.charged) }));
    last = { time: end.exactTime, id: end.id };
  }
}
