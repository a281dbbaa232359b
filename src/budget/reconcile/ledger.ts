/**
 * What the ledger has of a provider's calls with the platform's keys: others are on bills of the tenants. Columns of a later version are read through the row (`to_jsonb`), which has
 * none of them in this one: the provider's request id, what was assumed, and what arrived of an answer.
 */
import type { Tx } from '../../db/connect.ts';
import { z } from 'zod';
import type { PinnedPrice } from '../pinned-price.ts';
import { usageClasses } from '../usage-classes.ts';
import { attoOf } from './amounts.ts';

export interface LedgerRange {
  readonly provider: string;
  /** Calls that were sent from here on, and before `to`. */
  readonly from: Date;
  readonly to: Date;
}

/** Usage of one class at one rate, of the settled calls of one day and model. */
export interface DaySum {
  readonly day: string;
  readonly model: string;
  readonly tier: string | null;
  /** Null for calls whose usage is not known, only their cost. */
  readonly class: string | null;
  readonly count: bigint;
  /** USD per so many units; null where the price has no rate. */
  readonly usd: string | null;
  readonly per: number;
  readonly exact: bigint;
}

/** Costs as charged: each rounded up. */
export interface DayCost {
  readonly day: string;
  readonly model: string;
  readonly tier: string | null;
  readonly calls: number;
  readonly cost: bigint;
}

/** A call that does not surely stand in one bucket at one cost. Amounts are in atto-USD. */
export interface OpenCall {
  readonly id: string;
  readonly tenantId: string;
  readonly model: string;
  readonly tier: string | null;
  /** `unknown`: nobody knows the cost, also where the hold was assumed to be it. */
  readonly kind: 'unknown' | 'settled';
  /** When it was sent, and until when the provider can have ended it. */
  readonly day: string;
  readonly endDay: string;
  /** What the ledger has charged. */
  readonly charged: bigint;
  /** Of a settled call: its cost before it was rounded up. */
  readonly exact: bigint;
  readonly price: PinnedPrice;
  readonly receivedOutputTokens: number;
}

const rate = z.object({
  usd: z.string(),
  tiers: z.array(z.object({ aboveInputTokens: z.number(), usd: z.string() })).optional(),
});
const pinned = z.object({
  source: z.string(),
  model: z.string(),
  rates: z.record(z.string(), rate),
});

/** A price as it was pinned. Rates that cannot be read are no rates. */
export function priceOfRow(json: unknown): PinnedPrice {
  const { data } = pinned.safeParse(json);
  if (data === undefined) return { source: 'unknown', model: '', rates: {} };
  const rates = Object.fromEntries(
    Object.entries(data.rates).map(([name, { usd, tiers }]) => [
      name,
      tiers === undefined ? { usd } : { usd, tiers },
    ]),
  );
  return { ...data, rates };
}

/** Calls of the range, with the first and last UTC day on which the provider can have listed them. */
function calls(tx: Tx, { provider, from, to }: LedgerRange) {
  return tx`
    select r.id, r.tenant_id, r.status, coalesce(u.served_model, r.model) as model, u.service_tier as tier, r.price,
      (coalesce(r.sent_at, r.created_at) at time zone 'UTC')::date as day,
      greatest((coalesce(r.sent_at, r.created_at) at time zone 'UTC')::date,
        (least(r.closed_at, r.expires_at) at time zone 'UTC')::date) as end_day,
      r.estimated_cost_usd as hold, u.cost_usd as cost,
      r.status = 'UNKNOWN' or coalesce(to_jsonb(u) ->> 'assumed', 'false') = 'true' as is_unknown,
      coalesce((to_jsonb(r) ->> 'received_output_tokens')::bigint, 0) as received
    from llm_reservations r left join llm_usage u on u.reservation_id = r.id
    where r.provider = ${provider} and r.provider_key not like 'own:%' and r.status in ('APPLIED', 'UNKNOWN')
      and coalesce(r.sent_at, r.created_at) >= ${from} and coalesce(r.sent_at, r.created_at) < ${to}`;
}

/** Usage of settled calls within one day. Without `class`: the cost of calls that have no usage. */
export async function sumDays(tx: Tx, range: LedgerRange): Promise<DaySum[]> {
  const rows = await tx<
    {
      day: string;
      model: string;
      tier: string | null;
      class: string | null;
      count: string;
      usd: string | null;
      per: number;
      exact: string;
    }[]
  >`
    with calls as materialized (${calls(tx, range)}), counted as (
      select c.day, c.model, c.tier, i.class, i.count, i.usd, i.per, i.amount_usd,
        bool_or(i.class = any(${[...usageClasses]}::text[])) over (partition by c.id) as has_usage
      from calls c join llm_usage_items i on i.reservation_id = c.id
      where not c.is_unknown and c.day = c.end_day
    )
    select day::text, model, tier, case when has_usage then class end as class,
      (case when has_usage then sum(count) else count(*) end)::text as count,
      case when has_usage then trim_scale(usd) end as usd, case when has_usage then per else 1 end as per,
      sum(amount_usd) as exact
    from counted group by day, model, tier, has_usage, case when has_usage then class end,
      case when has_usage then trim_scale(usd) end, case when has_usage then per else 1 end`;
  return rows.map((row) => ({ ...row, count: BigInt(row.count), exact: attoOf(row.exact) }));
}

/** What those calls are charged. */
export async function sumCosts(tx: Tx, range: LedgerRange): Promise<DayCost[]> {
  const rows = await tx<
    { day: string; model: string; tier: string | null; calls: number; cost: string }[]
  >`
    with calls as materialized (${calls(tx, range)})
    select day::text, model, tier, count(*)::int as calls, sum(cost) as cost
    from calls where not is_unknown and day = end_day group by 1, 2, 3`;
  return rows.map((row) => ({ ...row, cost: attoOf(row.cost) }));
}

/** Calls whose cost is unknown, and settled ones that ran over midnight. */
export async function listOpenCalls(tx: Tx, range: LedgerRange): Promise<OpenCall[]> {
  const rows = await tx<
    {
      id: string;
      tenantId: string;
      model: string;
      tier: string | null;
      isUnknown: boolean;
      day: string;
      endDay: string;
      charged: string;
      exact: string;
      price: unknown;
      received: string;
    }[]
  >`
    with calls as materialized (${calls(tx, range)})
    select c.id, c.tenant_id as "tenantId", c.model, c.tier, c.is_unknown as "isUnknown", c.day::text,
      c.end_day::text as "endDay", coalesce(c.cost, c.hold) as charged, c.price, c.received,
      coalesce((select sum(i.amount_usd) from llm_usage_items i where i.reservation_id = c.id), 0) as exact
    from calls c
    where c.is_unknown or c.day <> c.end_day
    order by c.day, c.id`;
  return rows.map(({ isUnknown, price, received, charged, exact, ...row }) => ({
    ...row,
    kind: isUnknown ? 'unknown' : 'settled',
    charged: attoOf(charged),
    exact: attoOf(exact),
    price: priceOfRow(price),
    receivedOutputTokens: Number(received),
  }));
}

/** Models that were asked for, and those that answered. */
export async function listServedModels(
  tx: Tx,
  { provider, from, to }: LedgerRange,
): Promise<{ asked: string; served: string }[]> {
  return tx<{ asked: string; served: string }[]>`
    select distinct r.model as asked, u.served_model as served
    from llm_reservations r join llm_usage u on u.reservation_id = r.id
    where r.provider = ${provider} and r.provider_key not like 'own:%' and u.served_model is not null
      and coalesce(r.sent_at, r.created_at) >= ${from} and coalesce(r.sent_at, r.created_at) < ${to}`;
}
