/**
 * The one filter of jobs: lists, groups of failures and batches of every door take it, and get statements of the same
 * rows. A field that is undefined restricts nothing.
 */
import type { Fragment, Queryable } from '../../db/connect.ts';
import type { JobState } from '../states.ts';

/** Why a job became a dead letter: it would fail again, its attempts (or crashes) are used up, or it waited too long. */
export type EndedBy = 'fatal' | 'exhausted' | 'expired';

export interface JobFilter {
  readonly jobId?: string | undefined;
  readonly tenantId?: string | undefined;
  readonly jobType?: string | undefined;
  /** Only of these tenants, and of these types: the limits of who asks. */
  readonly tenantIds?: readonly string[] | undefined;
  readonly jobTypes?: readonly string[] | undefined;
  readonly state?: JobState | undefined;
  /** Of the last error; in lists of all jobs, of any failed attempt of an ended one. */
  readonly code?: string | undefined;
  /** Of the end of a dead letter; in lists of all jobs, of any failed attempt. */
  readonly fingerprint?: string | undefined;
  /** Words that are in code and message of that failure, in any order, each from its beginning on. */
  readonly text?: string | undefined;
  /** Dead letters: ended at this time or later. Other lists: made then or later. */
  readonly since?: Date | undefined;
  /** The same, before this time. */
  readonly until?: Date | undefined;
  /** Number of counted attempts, the running one included. */
  readonly attempt?: number | undefined;
  /** Of the tenant. */
  readonly plan?: string | undefined;
  readonly group?: string | undefined;
  readonly dedupKey?: string | undefined;
  /** Every job of the chain of replays to which this job belongs, itself included. */
  readonly replaysOf?: string | undefined;
}

/** A part of a condition: `and ...`, or nothing without the value. */
export function and<T>(
  sql: Queryable,
  value: T | undefined,
  part: (given: T) => Fragment,
): Fragment {
  return value === undefined ? sql`` : sql`and ${part(value)}`;
}

/** The limits of who asks, on the tenant and the type of a row. */
export const limitConditions = (
  sql: Queryable,
  { tenantIds, jobTypes }: JobFilter,
  tenant: Fragment,
  type: Fragment,
): Fragment => sql`
  ${and(sql, tenantIds, (given) => sql`${tenant} = any(${[...given]}::text[])`)}
  ${and(sql, jobTypes, (given) => sql`${type} = any(${[...given]}::text[])`)}`;

/** Conditions on an id of a job, `id`, and on the tenant, `tenant`, that need other tables. */
export function jobConditions(
  sql: Queryable,
  filter: JobFilter,
  id: Fragment,
  tenant: Fragment,
): Fragment {
  const { jobId, replaysOf, dedupKey, plan } = filter;
  return sql`
    ${and(sql, jobId, (given) => sql`${id} = ${given}`)}
    ${and(sql, plan, (given) => sql`${tenant} in (select t.id from public.tenants t where t.plan = ${given})`)}
    ${and(sql, dedupKey, (given) => sql`${id} in (select k.id from public.jobs k where k.dedup_key = ${given})`)}
    ${and(sql, replaysOf, (given) => sql`${id} in (${replayChain(sql, given)})`)}`;
}

/** Ids of all jobs of a chain of replays, from any of them. Both steps are by an index. */
function replayChain(sql: Queryable, jobId: string): Fragment {
  return sql`
    with recursive original (id) as (
      select ${jobId}::bigint
      union
      select c.replay_of from original o join public.jobs c on c.id = o.id where c.replay_of is not null
    ), replay (id) as (
      select o.id from original o
      union
      select c.id from replay r join public.jobs c on c.replay_of = r.id
    )
    select r.id from replay r`;
}
