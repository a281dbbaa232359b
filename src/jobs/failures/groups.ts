/**
 * Failures by fingerprint: how many, of how many tenants, since when, and whether they become more. Over the dead letters
 * that are listed, or over failed attempts; bounded in both, and by one pass over narrow rows.
 */
import type { Fragment, Queryable } from '../../db/connect.ts';
import { deadLettersMatching } from '../search/dead-letters.ts';
import { and, jobConditions, limitConditions } from '../search/filter.ts';
import type { JobFilter } from '../search/filter.ts';

/** dead_letters: neither replayed nor discarded. attempts: every failed attempt, of the last 24 hours unless the filter says. */
export type GroupedOver = 'dead_letters' | 'attempts';

export interface FailureGroup {
  readonly fingerprint: string;
  readonly jobType: string;
  readonly errorCode: string;
  /** Of the newest job. */
  readonly message: string;
  readonly newestJobId: string;
  readonly count: number;
  readonly tenants: number;
  /** How many of them ended their job: it would fail again, its attempts are used up, it waited too long. */
  readonly fatal: number;
  readonly exhausted: number;
  readonly expired: number;
  /** The first attempt that failed so, of the filter's tenant where it names one; counted or not. */
  readonly firstSeen: Date;
  readonly lastSeen: Date;
  /** In the last hour, and in the hour before. */
  readonly lastHour: number;
  readonly hourBefore: number;
  /** Of each of the last 24 hours, oldest first; the last one is `lastHour`. */
  readonly hours: readonly number[];
}

export interface FailureGroups {
  /** The largest first. */
  readonly groups: readonly FailureGroup[];
  /** Number of all groups, those beyond the limit too. */
  readonly total: number;
  /** Only so many failures were looked at, of attempts the newest: there are more. */
  readonly cutAt: number | undefined;
}

/** Failures that are looked at. */
const maxFailures = 200_000;
const hoursShown = 24;

interface GroupRow extends Omit<FailureGroup, 'hours'> {
  readonly total: number;
  readonly looked: number;
  readonly hourCounts: Readonly<Record<string, number>>;
}

/** Since, until, code, text and attempt of the filter are those of the failure; `state` is not looked at. */
export async function listFailureGroups(
  sql: Queryable,
  over: GroupedOver,
  { limit, ...filter }: JobFilter & { readonly limit: number },
): Promise<FailureGroups> {
  const { state: _state, ...ofFailure } = filter;
  const failures =
    over === 'attempts' ? failedAttempts(sql, ofFailure) : deadLetters(sql, ofFailure);
  const rows = await sql<GroupRow[]>`
    with counted as materialized (
      -- One pass, and bounds that are computed once. All hours that are not shown are one: a month has as many as it has
      -- failures.
      select f.fingerprint, f.tenant_id, f.ended_by, case when f.at >= (select now() - interval '25 hours')
          then date_bin('1 hour', least(f.at, (select now() - interval '1 microsecond')), now()) end as hour,
        count(*) as failures, min(f.at) as first_at, max(f.at) as last_at, max(f.job_id) as newest
      from (select * from (${failures}) f limit ${maxFailures + 1}) f group by 1, 2, 3, 4
    ), part as materialized (
      select c.fingerprint, c.hour, sum(c.failures) as failures,
        sum(c.failures) filter (where c.ended_by = 'fatal') as fatal,
        sum(c.failures) filter (where c.ended_by = 'exhausted') as exhausted,
        sum(c.failures) filter (where c.ended_by = 'expired') as expired,
        min(c.first_at) as first_at, max(c.last_at) as last_at, max(c.newest) as newest
      from counted c group by 1, 2
    ), cause as materialized (
      select p.fingerprint, sum(p.failures) as failures, coalesce(sum(p.fatal), 0) as fatal,
        coalesce(sum(p.exhausted), 0) as exhausted, coalesce(sum(p.expired), 0) as expired, min(p.first_at) as first_at, max(p.last_at) as last_at, max(p.newest) as newest,
        count(*) over () as total, sum(sum(p.failures)) over () as looked
      from part p group by p.fingerprint order by failures desc, last_at desc, p.fingerprint limit ${limit}
    ), tenants as materialized (
      select t.fingerprint, count(*) as tenants
      from (select distinct c.fingerprint, c.tenant_id from counted c) t group by t.fingerprint
    ), hours as materialized (
      select p.fingerprint, jsonb_object_agg(extract(epoch from now() - p.hour)::int / 3600 - 1, p.failures) as counts
      from part p where p.hour is not null group by p.fingerprint
    )
    select g.fingerprint, j.job_type as "jobType", coalesce(h.error_code, j.error->>'code', '') as "errorCode",
      coalesce(h.error->>'message', j.error->>'message', '') as message, g.newest as "newestJobId",
      g.failures::int as count, n.tenants::int as tenants, g.fatal::int as fatal, g.exhausted::int as exhausted,
      g.expired::int as expired, least(g.first_at, r.first_at) as "firstSeen", g.last_at as "lastSeen",
      coalesce((b.counts->>'0')::int, 0) as "lastHour", coalesce((b.counts->>'1')::int, 0) as "hourBefore",
      g.total::int as total, g.looked::int as looked, coalesce(b.counts, '{}') as "hourCounts"
    from cause g join tenants n on n.fingerprint = g.fingerprint
    left join hours b on b.fingerprint = g.fingerprint
    cross join lateral (
      select min(e.at) as first_at from purser.failures e
      where e.fingerprint = g.fingerprint ${and(sql, filter.tenantId, (given) => sql`e.tenant_id = ${given}`)}
        ${limitConditions(sql, filter, sql`e.tenant_id`, sql`e.job_type`)}) r
    left join public.jobs j on j.id = g.newest
    left join lateral (
      select e.error_code, e.error from purser.job_history e
      where e.job_id = g.newest and e.fingerprint = g.fingerprint order by e.id desc limit 1) h on true
    order by g.failures desc, g.last_at desc, g.fingerprint`;
  const [first] = rows;
  return {
    groups: rows.map(({ total: _total, looked: _looked, hourCounts, ...group }) => ({
      ...group,
      hours: Array.from(
        { length: hoursShown },
        (_, index) => hourCounts[String(hoursShown - 1 - index)] ?? 0,
      ),
    })),
    total: first?.total ?? 0,
    cutAt: first !== undefined && first.looked > maxFailures ? maxFailures : undefined,
  };
}

const deadLetters = (sql: Queryable, filter: JobFilter): Fragment => sql`
  select m.job_id, m.tenant_id, m.fingerprint, m.ended_by, m.finished_at as at
  from (${deadLettersMatching(sql, filter)}) m`;

function failedAttempts(sql: Queryable, filter: JobFilter): Fragment {
  const { tenantId, jobType, code, fingerprint, text, since, until, attempt, group } = filter;
  return sql`
    select f.job_id, f.tenant_id, f.fingerprint, f.ended_by, f.at
    from purser.failures f
    where f.at >= coalesce(${since ?? null}::timestamptz, now() - interval '24 hours')
      ${and(sql, until, (given) => sql`f.at < ${given}`)}
      ${and(sql, tenantId, (given) => sql`f.tenant_id = ${given}`)}
      ${and(sql, jobType, (given) => sql`f.job_type = ${given}`)}
      ${limitConditions(sql, filter, sql`f.tenant_id`, sql`f.job_type`)}
      ${and(sql, code, (given) => sql`f.error_code = ${given}`)}
      ${and(sql, fingerprint, (given) => sql`f.fingerprint = ${given}`)}
      ${and(sql, attempt, (given) => sql`f.attempt = ${given}`)}
      ${and(sql, text, (given) => sql`f.words @@ purser.words_query(${given})`)}
      ${and(sql, group, (given) => sql`exists (select from public.jobs g where g.id = f.job_id and g.group_name = ${given})`)}
      ${jobConditions(sql, filter, sql`f.job_id`, sql`f.tenant_id`)}
    order by f.at desc`;
}
