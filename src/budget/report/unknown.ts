/** Holds whose request was sent and whose cost is unknown: what they hold, and since when. Reads only. */
import type { Sql, Tx } from '../../db/connect.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';
import { formatUsd, parseUsd } from '../money.ts';

export interface UnknownHold {
  readonly reservationId: string;
  readonly tenantId: string;
  readonly jobId: string | null;
  /** Empty where the job was deleted. */
  readonly jobType: string;
  readonly provider: string;
  readonly model: string;
  /** Whose key paid: `platform`, or a name such as `own:openai`. */
  readonly providerKey: string;
  /** Exact decimal USD: charged until it is resolved. */
  readonly holdUsd: string;
  /** The provider's id of the request, where an answer began. */
  readonly requestId: string | null;
  readonly sentAt: Date | null;
  /** Since it was sent, by the database's clock. */
  readonly ageSeconds: number;
}

/** Unknown holds by age: how many, and what they hold together. */
export interface UnknownAge {
  readonly age: string;
  readonly holds: number;
  readonly usd: string;
}

export interface UnknownHolds {
  /** All that were asked for, also those that `limit` leaves out. */
  readonly holds: number;
  readonly usd: string;
  readonly ages: readonly UnknownAge[];
  readonly oldest: readonly UnknownHold[];
}

export interface UnknownRequest {
  readonly tenantId?: string | undefined;
  readonly reservationId?: string | undefined;
  /** Only holds that were sent at least so long ago. */
  readonly olderThanSeconds?: number | undefined;
  /** What is listed first. Default `age`: the oldest. */
  readonly order?: 'age' | 'usd' | undefined;
  /** Maximum of listed holds; the sums have all. */
  readonly limit: number;
}

/** From the oldest. After 48 hours no provider reports a call by itself. */
const ages = [
  { age: 'over 48 h', fromSeconds: 48 * 3600 },
  { age: '24 to 48 h', fromSeconds: 24 * 3600 },
  { age: '1 to 24 h', fromSeconds: 3600 },
  { age: 'under 1 h', fromSeconds: Number.NEGATIVE_INFINITY },
];

/** One snapshot. Throws `store_unavailable`. */
export async function listUnknownHolds(sql: Sql, request: UnknownRequest): Promise<UnknownHolds> {
  return mapStoreErrors('list unknown holds', () =>
    sql.begin('isolation level repeatable read read only', async (tx) => {
      const sums = await sumByAge(tx, request);
      const oldest = await listHolds(tx, request);
      return {
        holds: sums.reduce((count, sum) => count + sum.holds, 0),
        usd: formatUsd(sums.reduce((total, sum) => total + parseUsd(sum.usd), 0n)),
        ages: sums.map((sum) => ({ ...sum, usd: formatUsd(parseUsd(sum.usd)) })),
        oldest: oldest.map((hold) => ({
          ...hold,
          holdUsd: formatUsd(parseUsd(hold.holdUsd)),
        })),
      };
    }),
  );
}

async function sumByAge(tx: Tx, request: UnknownRequest): Promise<UnknownAge[]> {
  const names = ages.map(({ age }) => age);
  const starts = ages.map(({ fromSeconds }) => fromSeconds);
  return tx<UnknownAge[]>`
    select a.age, count(u.held_since)::int as holds, coalesce(sum(u.estimated_cost_usd), 0) as usd
    from unnest(${names}::text[], ${starts}::float8[]) with ordinality a (age, from_seconds, place)
    left join (
      select r.estimated_cost_usd, coalesce(r.sent_at, r.created_at) as held_since,
        extract(epoch from now() - coalesce(r.sent_at, r.created_at)) as seconds
      from llm_reservations r
      where r.status = 'UNKNOWN' and ${wanted(tx, request)}
    ) u on u.seconds >= a.from_seconds and not exists (
      select from unnest(${starts}::float8[]) older (from_seconds)
      where older.from_seconds > a.from_seconds and u.seconds >= older.from_seconds)
    group by a.age, a.place order by a.place`;
}

async function listHolds(tx: Tx, request: UnknownRequest): Promise<UnknownHold[]> {
  const byUsd = request.order === 'usd';
  return tx<UnknownHold[]>`
    select r.id as "reservationId", r.tenant_id as "tenantId", r.job_id as "jobId",
      coalesce(to_jsonb(r) ->> 'job_type', j.job_type, '') as "jobType", r.provider, r.model,
      r.provider_key as "providerKey", r.estimated_cost_usd as "holdUsd", to_jsonb(r) ->> 'request_id' as "requestId", r.sent_at as "sentAt",
      floor(extract(epoch from now() - coalesce(r.sent_at, r.created_at)))::int as "ageSeconds"
    from llm_reservations r left join jobs j on j.id = r.job_id
    where r.status = 'UNKNOWN' and ${wanted(tx, request)}
    order by case when ${byUsd} then r.estimated_cost_usd end desc, coalesce(r.sent_at, r.created_at), r.id
    limit ${request.limit}`;
}

function wanted(tx: Tx, { tenantId, reservationId, olderThanSeconds }: UnknownRequest) {
  return tx`${reservationId === undefined ? tx`` : tx`r.id = ${reservationId}::uuid and`}
    (${tenantId ?? null}::text is null or r.tenant_id = ${tenantId ?? null}::text)
    and (${olderThanSeconds ?? null}::float8 is null or coalesce(r.sent_at, r.created_at)
      <= now() - ${olderThanSeconds ?? null}::float8 * interval '1 second')`;
}
