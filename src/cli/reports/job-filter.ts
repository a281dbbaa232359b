/** The options `--tenant` and `--type` of lists of jobs. An unknown name is an error, not an empty list. */
import type { Sql } from '../../db/connect.ts';
import { assertKnown } from '../../jobs/pauses.ts';
import type { Invocation, OptionSpec } from '../terminal/command.ts';

export const jobFilterOptions = {
  tenant: { value: 'T', help: 'only jobs of this tenant' },
  type: { value: 'TYPE', help: 'only jobs of this type' },
} satisfies Record<string, OptionSpec>;

/** Throws `unknown_tenant` or `unknown_job_type`. */
export async function jobFilter(
  invocation: Invocation,
  sql: Sql,
): Promise<{ tenantId: string | undefined; jobType: string | undefined }> {
  const tenantId = invocation.value('tenant');
  const jobType = invocation.value('type');
  if (tenantId !== undefined) await assertKnown(sql, { scope: 'tenant', name: tenantId });
  if (jobType !== undefined) await assertKnown(sql, { scope: 'job_type', name: jobType });
  return { tenantId, jobType };
}
