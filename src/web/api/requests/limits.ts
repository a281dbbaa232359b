/**
 * What a token that is limited to tenants or job types sees and touches. A job outside of its limits is answered as one
 * that is not there.
 */
import type { Queryable } from '../../../db/connect.ts';
import { PurserError } from '../../../errors.ts';
import { jobNamed } from '../../../operations/job-named.ts';
import type { Access } from '../../web-env.ts';

/** Lists that restrict; undefined restricts nothing. */
export interface Scope {
  readonly tenantIds?: readonly string[] | undefined;
  readonly jobTypes?: readonly string[] | undefined;
}

const listed = (names: readonly string[] | undefined) =>
  names === undefined || names.length === 0 ? undefined : names;

export const scopeOf = ({ limits }: Access): Scope => ({
  tenantIds: listed(limits?.tenants),
  jobTypes: listed(limits?.jobTypes),
});

const outside = (what: string, name: string): PurserError =>
  new PurserError('forbidden', `this token may not use the ${what} ${JSON.stringify(name)}`, {
    status: 403,
  });

interface Named {
  readonly tenantId?: string | undefined;
  readonly jobType?: string | undefined;
}

/** Throws `forbidden` (403) for a tenant or type that is named and outside; its existence is not looked at. */
export function assertWithin(access: Access, { tenantId, jobType }: Named): void {
  const { tenantIds, jobTypes } = scopeOf(access);
  if (tenantId !== undefined && tenantIds?.includes(tenantId) === false) {
    throw outside('tenant', tenantId);
  }
  if (jobType !== undefined && jobTypes?.includes(jobType) === false) {
    throw outside('job type', jobType);
  }
}

/** For what is of a tenant as a whole, such as its budget: a token that is limited to types is refused. */
export function assertWholeTenant(access: Access, tenantId?: string): void {
  if (scopeOf(access).jobTypes !== undefined) {
    throw new PurserError('forbidden', 'a token that is limited to job types may not use this', {
      status: 403,
    });
  }
  assertWithin(access, { tenantId });
}

/** Throws `unknown_job` (404), also for a job outside of the limits. */
export async function assertOwnJob(sql: Queryable, access: Access, jobId: string): Promise<void> {
  const { tenantId, jobType } = await jobNamed(sql, jobId);
  const { tenantIds, jobTypes } = scopeOf(access);
  const isOwn =
    tenantId !== undefined &&
    tenantIds?.includes(tenantId) !== false &&
    jobTypes?.includes(jobType) !== false;
  if (!isOwn) {
    throw new PurserError('unknown_job', `there is no job ${jobId}`, { status: 404 });
  }
}
