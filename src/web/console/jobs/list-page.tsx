/** A list of jobs with its filter. */
import type { JobSummary } from '../../../jobs/inspect.ts';
import { maxCounted } from '../../../jobs/search/list.ts';
import type { Access } from '../../web-env.ts';
import { Page, Time } from '../layout.tsx';
import { StateBadge } from '../parts/badge.tsx';
import { FilterForm } from '../parts/filter-form.tsx';
import { Live } from '../parts/live.tsx';
import { Pager, address, countText, numberText } from '../parts/pager.tsx';
import type { Fields } from '../parts/pager.tsx';
import { Table } from '../parts/table.tsx';
import type { Column } from '../parts/table.tsx';
import { formFields, stateField } from './filter.ts';
import { PreviewForm } from './preview-form.tsx';

export interface ListPageProps {
  readonly access: Access;
  readonly fields: Fields;
  readonly jobs: readonly JobSummary[];
  /** Of the filter, at most one more than are counted; undefined where counting takes long. */
  readonly count: number | undefined;
  readonly next: string | undefined;
  readonly isLater: boolean;
}

export const jobColumns: readonly Column<JobSummary>[] = [
  { title: 'Job', isHead: true, cell: ({ jobId }) => <a href={`/jobs/${jobId}`}>{jobId}</a> },
  {
    title: 'Tenant',
    cell: ({ tenantId }) => <a href={address('/jobs', { tenant: tenantId })}>{tenantId}</a>,
  },
  {
    title: 'Type',
    cell: ({ jobType, group }) => (
      <>
        <a href={address('/jobs', { type: jobType })}>{jobType}</a>
        {group === null ? null : <div class="quiet">group {group}</div>}
      </>
    ),
  },
  { title: 'State', cell: ({ state }) => <StateBadge state={state} /> },
  {
    title: 'Attempt',
    isNumber: true,
    cell: ({ attempt, maxAttempts }) => `${attempt} of ${maxAttempts}`,
  },
  { title: 'Created', cell: ({ createdAt }) => <Time at={createdAt} /> },
  {
    title: 'Finished',
    cell: ({ finishedAt }) => (finishedAt === null ? '' : <Time at={finishedAt} />),
  },
  { title: 'Error', cell: ({ errorCode }) => errorCode ?? '' },
];

/** Without a state: on those of them that have not ended. */
function actsOn(state: string): readonly ('replay' | 'discard' | 'cancel')[] {
  if (state === 'dead_letter') return ['replay', 'discard'];
  if (state === 'cancelled') return ['replay'];
  return state === 'completed' ? [] : ['cancel'];
}

export function ListPage({ access, fields, jobs, count, next, isLater }: ListPageProps) {
  const shown = numberText(jobs.length);
  return (
    <Page title="Jobs" access={access} path="/jobs">
      <form class="filter" method="get" action="/jobs" role="search" aria-label="Find a job">
        <label class="wide">
          Find
          <input
            name="q"
            type="search"
            placeholder="a job id, tenant, type, state, dedup key, fingerprint, or words of an error"
            autocapitalize="none"
            autocomplete="off"
            spellcheck={false}
          />
        </label>
        <button type="submit">Find</button>
      </form>
      <FilterForm path="/jobs" fields={formFields(fields, [stateField])} values={fields} />
      {jobs.length === 0 ? null : (
        <PreviewForm access={access} fields={fields} acts={actsOn(String(fields['state'] ?? ''))} />
      )}
      <Live id="jobs">
        <Table
          label="Jobs"
          caption={`${shown} of ${countText(count, maxCounted)} jobs, newest first. Times are UTC.`}
          columns={jobColumns}
          rows={jobs}
          empty="No job is like this."
        />
        <Pager path="/jobs" fields={fields} cursor="before" next={next} isLater={isLater} />
      </Live>
    </Page>
  );
}
