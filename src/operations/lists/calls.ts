/** LLM calls: those of a job, and those of which nobody knows the cost, page by page. Reads only. */
import type { Queryable } from '../../db/connect.ts';
import { and } from '../../jobs/search/filter.ts';

export interface ListedCall {
  readonly reservationId: string;
  readonly attempt: number | null;
  readonly provider: string;
  readonly model: string;
  readonly status: 'RESERVED' | 'APPLIED' | 'RELEASED' | 'UNKNOWN';
  /** Exact decimal USD: the worst case, reserved before the request. */
  readonly holdUsd: string;
  /** What it cost; null while it is not settled. */
  readonly costUsd: string | null;
  readonly createdAt: Date;
  /** null: the request did not leave. */
  readonly sentAt: Date | null;
}

/** Oldest first, the newest `limit`. */
export async function listCallsOfJob(
  sql: Queryable,
  jobId: string,
  limit: number,
): Promise<ListedCall[]> {
  return sql<ListedCall[]>`
    select * from (
      select r.id as "reservationId", r.attempt, r.provider, r.model, r.status,
        trim_scale(r.estimated_cost_usd)::text as "holdUsd",
        case when r.status = 'APPLIED' then trim_scale(coalesce(l.spent, 0))::text end as "costUsd",
        r.created_at as "createdAt", r.sent_at as "sentAt"
      from public.llm_reservations r
      left join lateral (
        select sum(spent_delta_usd) as spent from public.llm_ledger where reservation_id = r.id) l on true
      where r.job_id = ${jobId}
      order by r.created_at desc, r.id desc limit ${limit}) c
    order by c."createdAt", c."reservationId"`;
}

export interface UnknownCall {
  readonly reservationId: string;
  readonly tenantId: string;
  readonly jobId: string | null;
  /** null: the job was deleted. */
  readonly jobType: string | null;
  readonly provider: string;
  readonly model: string;
  readonly providerKey: string;
  readonly holdUsd: string;
  readonly sentAt: Date | null;
  /** Where the next page begins. */
  readonly place: string;
}

export interface UnknownCallPage {
  readonly tenantId?: string | undefined;
  readonly tenantIds?: readonly string[] | undefined;
  readonly jobTypes?: readonly string[] | undefined;
  /** The place of the last one of the page before. */
  readonly after?: string | undefined;
  readonly limit: number;
}

const placeShape =
  /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)_([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;

export const isCallPlace = (place: string): boolean =>
  placeShape.test(place) && !Number.isNaN(Date.parse(place.slice(0, place.indexOf('_'))));

/** Oldest first. `after` is of `isCallPlace`. */
export async function listUnknownCalls(
  sql: Queryable,
  { tenantId, tenantIds, jobTypes, after, limit }: UnknownCallPage,
): Promise<UnknownCall[]> {
  const [, at = '', id = ''] = placeShape.exec(after ?? '') ?? [];
  return sql<UnknownCall[]>`
    select * from (
      select r.id as "reservationId", r.tenant_id as "tenantId", r.job_id as "jobId",
        coalesce(to_jsonb(r) ->> 'job_type', j.job_type) as "jobType", r.provider, r.model, r.provider_key as "providerKey",
        trim_scale(r.estimated_cost_usd)::text as "holdUsd", r.sent_at as "sentAt",
        coalesce(r.sent_at, r.created_at) as held_since,
        to_char(coalesce(r.sent_at, r.created_at) at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '_' || r.id as place
      from public.llm_reservations r left join public.jobs j on j.id = r.job_id
      where r.status = 'UNKNOWN' ${and(sql, tenantId, (given) => sql`r.tenant_id = ${given}`)}
        ${and(sql, tenantIds, (given) => sql`r.tenant_id = any(${[...given]}::text[])`)}) u
    where true ${and(sql, jobTypes, (given) => sql`u."jobType" = any(${[...given]}::text[])`)}
      ${after === undefined ? sql`` : sql`and (u.held_since, u."reservationId") > (${at}::text::timestamptz, ${id}::uuid)`}
    order by u.held_since, u."reservationId" limit ${limit}`;
}

/** Of whom a call is; undefined where there is no such call. */
export async function callNamed(
  sql: Queryable,
  reservationId: string,
): Promise<{ tenantId: string; jobType: string | null } | undefined> {
  const [found] = await sql<{ tenantId: string; jobType: string | null }[]>`
    select r.tenant_id as "tenantId", coalesce(to_jsonb(r) ->> 'job_type', j.job_type) as "jobType"
    from public.llm_reservations r left join public.jobs j on j.id = r.job_id
    where r.id = ${reservationId}::uuid`;
  return found;
}
