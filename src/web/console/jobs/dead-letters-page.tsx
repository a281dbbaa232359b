/** The dead letters of a filter, each with its error and what may be done with it. */
import type { DeadLetter } from '../../../jobs/dead-letters.ts';
import { maxCounted } from '../../../jobs/search/list.ts';
import { hasRole } from '../../../operations/operators/roles.ts';
import type { Access } from '../../web-env.ts';
import { Page, Time } from '../layout.tsx';
import { ActForm } from '../parts/act-form.tsx';
import { Badge } from '../parts/badge.tsx';
import { FilterForm } from '../parts/filter-form.tsx';
import { Live } from '../parts/live.tsx';
import { Pager, address, countText, numberText } from '../parts/pager.tsx';
import type { Fields } from '../parts/pager.tsx';
import { Table } from '../parts/table.tsx';
import type { Column } from '../parts/table.tsx';
import { formFields } from './filter.ts';
import { PreviewForm } from './preview-form.tsx';

export interface DeadLettersPageProps {
  readonly access: Access;
  readonly fields: Fields;
  readonly letters: readonly DeadLetter[];
  /** Of the filter, at most one more than are counted; undefined where counting takes long. */
  readonly count: number | undefined;
  readonly next: string | undefined;
  readonly isLater: boolean;
}

const columns: readonly Column<DeadLetter>[] = [
  {
    title: 'Job',
    isHead: true,
    cell: ({ jobId }) => <a href={`/dead-letters/${jobId}`}>{jobId}</a>,
  },
  {
    title: 'Tenant',
    cell: ({ tenantId }) => <a href={address('/dead-letters', { tenant: tenantId })}>{tenantId}</a>,
  },
  {
    title: 'Type',
    cell: ({ jobType, group }) => (
      <>
        <a href={address('/dead-letters', { type: jobType })}>{jobType}</a>
        {group === null ? null : <div class="quiet">group {group}</div>}
      </>
    ),
  },
  {
    title: 'Error',
    cell: ({ errorCode, errorMessage, fingerprint }) => (
      <>
        <a href={address('/dead-letters', { fingerprint })}>{errorCode}</a> {errorMessage}
      </>
    ),
  },
  {
    title: 'Ended',
    cell: ({ endedBy, attempt }) => (
      <>
        <Badge tone={endedBy === 'fatal' ? 'bad' : 'warn'} text={endedBy} />
        <div class="quiet">
          {attempt} {attempt === 1 ? 'attempt' : 'attempts'}
        </div>
      </>
    ),
  },
  { title: 'Finished', cell: ({ finishedAt }) => <Time at={finishedAt} /> },
];

/** A discard needs its reason: it is on the page of the job. */
const replayColumn = (access: Access): Column<DeadLetter> => ({
  title: 'Act',
  isTitleHidden: true,
  cell: ({ jobId }) => (
    <ActForm
      access={access}
      action={`/jobs/${jobId}/replay`}
      label="Replay"
      of={`job ${jobId}`}
      reason="none"
    />
  ),
});

export function DeadLettersPage(props: DeadLettersPageProps) {
  const { access, fields, letters, count, next, isLater } = props;
  const shown = numberText(letters.length);
  const mayAct = hasRole(access.role, 'operator');
  return (
    <Page title="Dead letters" access={access} path="/dead-letters">
      <FilterForm path="/dead-letters" fields={formFields(fields)} values={fields} />
      <p>
        <a href={address('/failures', fields)}>The same by cause</a>
      </p>
      {letters.length === 0 ? null : (
        <PreviewForm access={access} fields={fields} acts={['replay', 'discard']} />
      )}
      <Live id="letters">
        <Table
          label="Dead letters"
          caption={`${shown} of ${countText(count, maxCounted)} that are neither replayed nor discarded, newest first. Times are UTC.`}
          columns={mayAct ? [...columns, replayColumn(access)] : columns}
          rows={letters}
          empty="No dead letter is like this."
        />
        <Pager path="/dead-letters" fields={fields} cursor="before" next={next} isLater={isLater} />
      </Live>
    </Page>
  );
}
