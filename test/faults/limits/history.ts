/** What the history says of limits. */
import type { Queryable } from '../../../src/db/connect.ts';

/** The most attempts of these jobs that ran at the same time. */
export async function mostAtOnce(sql: Queryable, ids: readonly string[]): Promise<number> {
  const [row] = await sql<{ most: number }[]>`
    select max(running)::int as most from (
      select sum(change) over (order by at, change) as running from (
        select started_at as at, 1 as change from purser.job_history
        where job_id = any(${[...ids]}::bigint[]) and started_at is not null
        union all
        select ended_at, -1 from purser.job_history
        where job_id = any(${[...ids]}::bigint[]) and started_at is not null) c) r`;
  return row?.most ?? 0;
}

/** The most attempts of these jobs that started within any window of so many seconds. */
export async function mostStarts(
  sql: Queryable,
  ids: readonly string[],
  seconds: number,
): Promise<number> {
  const [row] = await sql<{ most: number }[]>`
    select max(starts)::int as most from (
      select count(*) over (order by started_at range between current row
        and ${seconds} * interval '1 second' - interval '1 microsecond' following) as starts
      from purser.job_history
      where job_id = any(${[...ids]}::bigint[]) and started_at is not null) s`;
  return row?.most ?? 0;
}
