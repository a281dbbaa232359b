/** The tenant and the type of a job, by which its acts are found. */
import type { Queryable } from '../db/connect.ts';

export interface NamedJob {
  readonly tenantId: string;
  readonly jobType: string;
}

/** Empty where there is no such job. */
export async function jobNamed(
  sql: Queryable,
  jobId: string,
): Promise<NamedJob | Record<string, never>> {
  const [job] = await sql<NamedJob[]>`
    select tenant_id as "tenantId", job_type as "jobType" from public.jobs where id = ${jobId}`;
  return job ?? {};
}
