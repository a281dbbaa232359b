/** The columns that say whose job it is, of which type, and in which group, if a job of the list has one. */
import type { Cell } from '../terminal/table.ts';

interface NamedJob {
  readonly jobId: string;
  readonly tenantId: string;
  readonly jobType: string;
  readonly group: string | null;
}

export interface JobColumns {
  readonly head: readonly string[];
  readonly of: (job: NamedJob) => readonly Cell[];
}

export function jobColumns(jobs: readonly NamedJob[]): JobColumns {
  const hasGroups = jobs.some(({ group }) => group !== null);
  return {
    head: ['job', 'tenant', 'type', ...(hasGroups ? ['group'] : [])],
    of: ({ jobId, tenantId, jobType, group }) => [
      jobId,
      tenantId,
      jobType,
      ...(hasGroups ? [group] : []),
    ],
  };
}
