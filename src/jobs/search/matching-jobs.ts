/** The jobs of a filter in any of the eight states, as a statement over the tables of the states. */
import type { Fragment, Queryable } from '../../db/connect.ts';
import type { JobState } from '../states.ts';
import { and, jobConditions, limitConditions } from './filter.ts';
import type { JobFilter } from './filter.ts';

/** Which rows of each table. */
export interface Cut {
  /** At most so many of each: with `isOrdered` the newest by id. */
  readonly limit?: number | undefined;
  readonly isOrdered?: boolean | undefined;
  readonly beforeId?: string | undefined;
  /** The words of the filter are those of so many failures that the newest jobs are soon found by asking each. */
  readonly wordsAreCommon?: boolean | undefined;
  /** Only jobs that have not ended. */
  readonly isOpen?: boolean | undefined;
}

interface Source {
  readonly states: readonly JobState[];
  /** Rows s with the columns that the filter reads. */
  readonly rows: (sql: Queryable) => Fragment;
}

const openTables: readonly Source[] = [
  {
    states: ['pending', 'failed'],
    rows: (sql) => sql`
      select r.job_id, r.tenant_id, r.job_type, r.group_name, r.attempt, r.scheduled_for, r.last_error as error,
        case when r.failed then 'failed' else 'pending' end as state
      from purser.waiting r`,
  },
  {
    states: ['pending', 'failed'],
    rows: (sql) => sql`
      select r.job_id, r.tenant_id, r.job_type, r.group_name, r.attempt, r.scheduled_for, r.last_error as error,
        case when r.failed then 'failed' else 'pending' end as state
      from purser.later r`,
  },
  {
    states: ['parked'],
    rows: (sql) => sql`
      select r.job_id, r.tenant_id, r.job_type, r.group_name, r.attempt, r.scheduled_for, r.last_error as error,
        'parked' as state
      from purser.parked r`,
  },
  {
    states: ['queued', 'running'],
    rows: (sql) => sql`
      select r.job_id, r.tenant_id, r.job_type, r.group_name, r.attempt, r.scheduled_for, r.last_error as error,
        case when r.token is null then 'queued' else 'running' end as state
      from purser.in_flight r`,
  },
];

const ended: Source = {
  states: ['completed', 'dead_letter', 'cancelled'],
  rows: (sql) => sql`
    select j.id as job_id, j.tenant_id, j.job_type, j.group_name, j.attempt, j.scheduled_for, j.error,
      j.created_at, j.outcome as state
    from public.jobs j where j.outcome is not null`,
};

/** Few among all: found in the history, which has an index of them. */
const endedRarely = (state: 'dead_letter' | 'cancelled'): Source => ({
  states: [state],
  rows: (sql) => sql`
    select h.job_id, j.tenant_id, j.job_type, j.group_name, j.attempt, j.scheduled_for, j.error,
      j.created_at, h.to_state as state
    from purser.job_history h join public.jobs j on j.id = h.job_id where h.to_state = ${state}`,
});

const isEnded = ({ states }: Source): boolean =>
  states.every((state) => ended.states.includes(state));

function sourcesOf(state: JobState | undefined, isOpen = false): readonly Source[] {
  if (state === 'dead_letter' || state === 'cancelled') return [endedRarely(state)];
  return [...openTables, ...(isOpen ? [] : [ended])].filter(
    ({ states }) => state === undefined || states.includes(state),
  );
}

/**
 * A select of job_id, tenant_id, job_type, state, attempt, scheduled_for and error: one snapshot, in which each job is in
 * one table. Fingerprint and text are those of any failed attempt, and so is the code of an ended job.
 */
export function jobsMatching(sql: Queryable, filter: JobFilter, cut: Cut = {}): Fragment {
  const { text } = filter;
  const all = sourcesOf(filter.state, cut.isOpen)
    .map((source) => sql`(${rowsOf(sql, filter, source, cut)})`)
    .reduce((sofar, part) => sql`${sofar} union all ${part}`);
  if (text === undefined || cut.wordsAreCommon === true) return all;
  // Looked up first: what the planner takes a word's share to be would have it ask each job for its failures.
  return sql`
    with found as materialized (
      select distinct f.job_id from purser.failures f where f.words @@ purser.words_query(${text})
        ${and(sql, filter.tenantId, (given) => sql`f.tenant_id = ${given}`)}
        ${and(sql, filter.jobType, (given) => sql`f.job_type = ${given}`)})
    ${all}`;
}

function rowsOf(sql: Queryable, filter: JobFilter, source: Source, cut: Cut): Fragment {
  const { state, tenantId, jobType, attempt, group } = filter;
  return sql`
    select s.job_id, s.tenant_id, s.job_type, s.state, s.attempt, s.scheduled_for, s.error
    from (${source.rows(sql)}) s
    where true
      ${and(sql, state, (given) => sql`s.state = ${given}`)}
      ${and(sql, tenantId, (given) => sql`s.tenant_id = ${given}`)}
      ${and(sql, jobType, (given) => sql`s.job_type = ${given}`)}
      ${limitConditions(sql, filter, sql`s.tenant_id`, sql`s.job_type`)}
      ${and(sql, group, (given) => sql`s.group_name = ${given}`)}
      ${and(sql, attempt, (given) => sql`s.attempt = ${given}`)}
      ${failureConditions(sql, filter, isEnded(source), cut)}
      ${timeConditions(sql, filter, isEnded(source))}
      ${and(sql, cut.beforeId, (given) => sql`s.job_id < ${given}`)}
      ${jobConditions(sql, filter, sql`s.job_id`, sql`s.tenant_id`)}
    ${cut.isOrdered === true ? sql`order by s.job_id desc` : sql``}
    ${cut.limit === undefined ? sql`` : sql`limit ${cut.limit}`}`;
}

function failureConditions(
  sql: Queryable,
  { code, fingerprint, text }: JobFilter,
  hasEnded: boolean,
  { wordsAreCommon }: Cut,
): Fragment {
  // An open job that has failed keeps its last error: those without one are not looked up.
  const failed = (part: Fragment): Fragment =>
    sql`${hasEnded ? sql`` : sql`s.error is not null and `}s.job_id in (select f.job_id from purser.failures f where ${part})`;
  return sql`
    ${and(sql, code, (given) =>
      hasEnded ? failed(sql`f.error_code = ${given}`) : sql`s.error->>'code' = ${given}`,
    )}
    ${and(sql, fingerprint, (given) => failed(sql`f.fingerprint = ${given}`))}
    ${and(sql, text, (given) =>
      wordsAreCommon === true
        ? failed(sql`f.words @@ purser.words_query(${given})`)
        : // An array, which the planner takes for few: each is looked up, and no table is walked for them.
          sql`s.job_id = any(array(select found.job_id from found))`,
    )}`;
}

/** Of ended jobs the row itself has the time: ids follow it, so that the newest are found by walking them. */
function timeConditions(sql: Queryable, { since, until }: JobFilter, hasEnded: boolean): Fragment {
  const made = (condition: (at: Fragment) => Fragment): Fragment =>
    hasEnded
      ? condition(sql`s.created_at`)
      : sql`exists (select from public.jobs c where c.id = s.job_id and ${condition(sql`c.created_at`)})`;
  return sql`
    ${and(sql, since, (given) => made((at) => sql`${at} >= ${given}`))}
    ${and(sql, until, (given) => made((at) => sql`${at} < ${given}`))}`;
}
