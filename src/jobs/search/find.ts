/** What the one search box of a list looks for: the first of these that the text names. */
import type { Queryable } from '../../db/connect.ts';
import { isJobId } from '../../job-id.ts';
import { jobStates } from '../states.ts';
import type { JobFilter } from './filter.ts';

/** Exactly one field of a filter. */
export type Found = Pick<
  JobFilter,
  'jobId' | 'state' | 'jobType' | 'tenantId' | 'dedupKey' | 'fingerprint' | 'text'
>;

interface Names {
  readonly isJob: boolean;
  readonly isType: boolean;
  readonly isTenant: boolean;
  readonly isKey: boolean;
}

/** A job, a state, a type, a tenant, a dedup key or a fingerprint; else words of an error. */
export async function findByText(sql: Queryable, text: string): Promise<Found> {
  const state = jobStates.find((known) => known === text);
  if (state !== undefined) return { state };
  if (/^\d{1,4}-[0-9a-f]{16}$/.test(text)) return { fingerprint: text };
  const jobId = isJobId(text) ? text : null;
  const [names] = await sql<Names[]>`
    select exists (select from public.jobs where id = ${jobId}::bigint) as "isJob",
      exists (select from public.job_types where job_type = ${text}) as "isType",
      exists (select from public.tenants where id = ${text}) as "isTenant",
      exists (select from public.jobs where dedup_key = ${text}) as "isKey"`;
  if (names?.isJob === true) return { jobId: text };
  if (names?.isType === true) return { jobType: text };
  if (names?.isTenant === true) return { tenantId: text };
  return names?.isKey === true ? { dedupKey: text } : { text };
}
