/** The dead letters of a filter, as a statement that lists, groups and batches begin with. */
import type { Fragment, Queryable } from '../../db/connect.ts';
import { and, jobConditions, limitConditions } from './filter.ts';
import type { JobFilter } from './filter.ts';

/**
 * A select of the rows of `purser.dead_letters` (job_id, tenant_id, finished_at, job_type, attempt, error_code, fingerprint,
 * ended_by, words) that are neither replayed nor discarded and that the filter takes: `insert into t select m.job_id from
 * (...) m`. No row for another state than dead_letter.
 */
export function deadLettersMatching(sql: Queryable, filter: JobFilter): Fragment {
  const { state = 'dead_letter', tenantId, jobType, code, fingerprint, text } = filter;
  const { since, until, attempt, group } = filter;
  return sql`
    select d.* from purser.dead_letters d
    where ${state === 'dead_letter' ? sql`true` : sql`false`}
      ${and(sql, tenantId, (given) => sql`d.tenant_id = ${given}`)}
      ${and(sql, jobType, (given) => sql`d.job_type = ${given}`)}
      ${limitConditions(sql, filter, sql`d.tenant_id`, sql`d.job_type`)}
      ${and(sql, code, (given) => sql`d.error_code = ${given}`)}
      ${and(sql, fingerprint, (given) => sql`d.fingerprint = ${given}`)}
      ${and(sql, since, (given) => sql`d.finished_at >= ${given}`)}
      ${and(sql, until, (given) => sql`d.finished_at < ${given}`)}
      ${and(sql, attempt, (given) => sql`d.attempt = ${given}`)}
      ${and(sql, group, (given) => sql`d.job_id in (select g.id from public.jobs g where g.id = d.job_id and g.group_name = ${given})`)}
      ${and(sql, text, (given) => sql`d.words @@ purser.words_query(${given})`)}
      ${jobConditions(sql, filter, sql`d.job_id`, sql`d.tenant_id`)}`;
}
