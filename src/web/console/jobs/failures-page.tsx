/** Failures by cause: how many, of whom, since when, and whether they become more. */
import type { FailureGroup, FailureGroups, GroupedOver } from '../../../jobs/failures/groups.ts';
import type { Access } from '../../web-env.ts';
import { Page, Time } from '../layout.tsx';
import { Badge } from '../parts/badge.tsx';
import { Trend } from '../parts/chart.tsx';
import { FilterForm } from '../parts/filter-form.tsx';
import { Live } from '../parts/live.tsx';
import { address, numberText } from '../parts/pager.tsx';
import type { Fields } from '../parts/pager.tsx';
import { Table } from '../parts/table.tsx';
import { formFields } from './filter.ts';

export interface FailuresPageProps {
  readonly access: Access;
  readonly over: GroupedOver;
  readonly fields: Fields;
  readonly found: FailureGroups;
}

/** How the jobs of the group ended; what is left was tried again. */
function Ends({ fatal, exhausted, expired, count }: FailureGroup) {
  const retried = count - fatal - exhausted - expired;
  const parts = [
    [fatal, 'fatal', 'bad'],
    [exhausted, 'exhausted', 'warn'],
    [expired, 'expired', 'warn'],
    [retried, 'retried', 'plain'],
  ] as const;
  return (
    <>
      {parts
        .filter(([jobs]) => jobs > 0)
        .map(([jobs, word, tone]) => (
          <div>
            <Badge tone={tone} text={`${numberText(jobs)} ${word}`} />
          </div>
        ))}
    </>
  );
}

function Cause({ group }: { readonly group: FailureGroup }) {
  const { errorCode, message, jobType, newestJobId } = group;
  return (
    <>
      <strong>{errorCode}</strong> {message}
      <div class="quiet">
        {jobType}, newest: <a href={`/jobs/${newestJobId}`}>job {newestJobId}</a>
      </div>
    </>
  );
}

const trendText = ({ lastHour, hourBefore }: FailureGroup): string =>
  `${numberText(lastHour)} in the last hour, ${numberText(hourBefore)} in the hour before`;

function Note({
  over,
  found: { groups, total, cutAt },
}: Pick<FailuresPageProps, 'over' | 'found'>) {
  const what = over === 'attempts' ? 'Failed attempts' : 'Dead letters';
  return (
    <>
      {what} by cause, the largest group first: {numberText(groups.length)} of {numberText(total)}{' '}
      groups. The bars are the last 24 hours.
      {cutAt === undefined
        ? null
        : ` Only ${numberText(cutAt)} failures were looked at: there are more.`}
    </>
  );
}

export function FailuresPage({ access, over, fields, found }: FailuresPageProps) {
  const list = over === 'attempts' ? '/jobs' : '/dead-letters';
  const { of: _of, ...filter } = fields;
  return (
    <Page title="Failures" access={access} path="/failures">
      <FilterForm
        path="/failures"
        fields={formFields(fields, [
          { name: 'of', label: 'Of', without: 'dead letters', options: ['attempts'] },
        ])}
        values={fields}
      />
      <Live id="failures">
        <Table
          label="Failures by cause"
          caption={<Note over={over} found={found} />}
          rows={found.groups}
          empty="Nothing has failed like this."
          columns={[
            { title: 'Cause', cell: (group) => <Cause group={group} /> },
            {
              title: 'Count',
              isNumber: true,
              cell: ({ count, fingerprint }) => (
                <a href={address(list, { ...filter, fingerprint })}>{numberText(count)}</a>
              ),
            },
            { title: 'Tenants', isNumber: true, cell: ({ tenants }) => numberText(tenants) },
            { title: 'Ended', cell: (group) => <Ends {...group} /> },
            {
              title: 'Trend',
              cell: (group) => (
                <>
                  <Trend values={group.hours} text={trendText(group)} />
                  <div class="quiet">
                    {numberText(group.hourBefore)} → {numberText(group.lastHour)} an hour
                  </div>
                </>
              ),
            },
            { title: 'First seen', cell: ({ firstSeen }) => <Time at={firstSeen} /> },
            { title: 'Last seen', cell: ({ lastSeen }) => <Time at={lastSeen} /> },
          ]}
        />
      </Live>
    </Page>
  );
}
