/** What was spent in a month, as its reader groups it, with the calls whose cost is unknown and those that were refused. */
import type { RefusedCalls } from '../../../budget/report/refused-calls.ts';
import type { UnknownHolds } from '../../../budget/report/unknown.ts';
import type { SpendFigures, SpendRow, SpendTable } from '../../../budget/spend/table.ts';
import type { Access } from '../../web-env.ts';
import { Page, Time } from '../layout.tsx';
import { FilterForm } from '../parts/filter-form.tsx';
import { Facts } from '../parts/notice.tsx';
import { Outcome } from '../parts/outcome.tsx';
import type { Outcomes } from '../parts/outcome.tsx';
import { address, numberText } from '../parts/pager.tsx';
import { Table } from '../parts/table.tsx';
import type { Column } from '../parts/table.tsx';
import { Usd } from '../parts/usd.tsx';
import { groupingNames, groupings } from './fields.ts';
import type { Grouping } from './fields.ts';
import { TenantLink } from '../parts/tenant-link.tsx';
import { UnknownCalls } from './unknown-calls.tsx';

export interface MoneyFilter {
  readonly grouping: Grouping;
  readonly month?: string | undefined;
  readonly tenantId?: string | undefined;
  readonly jobType?: string | undefined;
  readonly model?: string | undefined;
}

export interface MoneyPageProps {
  readonly access: Access;
  readonly filter: MoneyFilter;
  readonly spend: SpendTable;
  readonly unknown: UnknownHolds;
  readonly refused: readonly RefusedCalls[];
  readonly done?: string | undefined;
}

const outcomes: Outcomes = {
  settled: 'The call is resolved: it is charged at the cost that you named.',
  adjusted: 'The cost of the call was corrected.',
  unchanged: 'The call was settled before at the same cost.',
  repeated: 'This evidence was recorded before, with the same cost.',
};

const keyColumns: Readonly<Record<string, Column<SpendRow>>> = {
  tenantId: { title: 'Tenant', cell: ({ tenantId }) => <TenantLink id={tenantId ?? ''} /> },
  jobType: { title: 'Job type', cell: ({ jobType }) => nameOr(jobType, '(deleted job)') },
  provider: { title: 'Provider', cell: ({ provider }) => nameOr(provider, '(deleted)') },
  model: { title: 'Model', cell: ({ model }) => nameOr(model, '(deleted)') },
  providerKey: { title: 'Key', cell: ({ providerKey }) => providerKey ?? '' },
  day: { title: 'Day (UTC)', cell: ({ day }) => day ?? '' },
};

const nameOr = (name: string | undefined, instead: string): string =>
  name === undefined || name === '' ? instead : name;

const columnsOf = (grouping: Grouping): readonly Column<SpendRow>[] => [
  ...groupings[grouping].flatMap((key) => keyColumns[key] ?? []),
  { title: 'Spent', isNumber: true, cell: ({ spentUsd }) => <Usd usd={spentUsd} /> },
  { title: 'Unknown', isNumber: true, cell: ({ unknownUsd }) => <Usd usd={unknownUsd} /> },
  { title: 'Held', isNumber: true, cell: ({ heldUsd }) => <Usd usd={heldUsd} /> },
  { title: 'Calls', isNumber: true, cell: ({ calls }) => numberText(calls) },
  {
    title: 'Counts',
    cell: ({ countsApart }) => (countsApart ? 'apart, own key' : 'in the budget'),
  },
];

function Totals({ total, apart }: Pick<SpendTable, 'total' | 'apart'>) {
  const hasApart = apart.calls > 0;
  return (
    <Facts
      of={[
        ['Spent', <Usd usd={total.spentUsd} />],
        ['Unknown, charged at the hold', <Usd usd={total.unknownUsd} />],
        ['Held by calls that run', <Usd usd={total.heldUsd} />],
        ['Calls', callsText(total)],
        ...(hasApart
          ? ([
              ['Spent with own keys of tenants, in no budget', <Usd usd={apart.spentUsd} />],
              ['Calls with own keys', callsText(apart)],
            ] as const)
          : []),
      ]}
    />
  );
}

const callsText = ({ calls, settledCalls }: SpendFigures): string =>
  `${numberText(calls)}, of them ${numberText(settledCalls)} settled`;

function Refused({ refused }: { readonly refused: readonly RefusedCalls[] }) {
  return (
    <Table
      label="Refused calls"
      caption="Calls that were refused in this month, by what refused them. Times are UTC."
      rows={refused}
      empty="No call was refused in this month."
      columns={[
        { title: 'Tenant', isHead: true, cell: ({ tenantId }) => <TenantLink id={tenantId} /> },
        { title: 'Refused by', cell: ({ by }) => by.replaceAll('_', ' ') },
        { title: 'Of', cell: ({ value }) => value },
        { title: 'Calls', isNumber: true, cell: ({ calls }) => numberText(calls) },
        { title: 'Asked for', isNumber: true, cell: ({ neededUsd }) => <Usd usd={neededUsd} /> },
        { title: 'Last', cell: ({ lastAt }) => <Time at={lastAt} /> },
      ]}
    />
  );
}

function Cut({ spend }: { readonly spend: SpendTable }) {
  const { isCut, ofTenants, rows } = spend;
  if (!isCut && ofTenants === undefined) return null;
  const shown = isCut ? `The ${rows.length} largest rows are shown` : 'All rows are shown';
  const of = ofTenants === undefined ? '' : ` of the ${ofTenants} tenants that spent most`;
  return (
    <p>
      {shown}
      {of}; the totals and the file have all.
    </p>
  );
}

export function MoneyPage({ access, filter, spend, unknown, refused, done }: MoneyPageProps) {
  const { grouping, tenantId, jobType, model } = filter;
  const month = spend.month.slice(0, 7);
  const fields = { month, tenant: tenantId, type: jobType, model, by: grouping };
  return (
    <Page title="Money" access={access} path="/money">
      <Outcome of={outcomes} done={done} />
      <FilterForm
        path="/money"
        values={fields}
        fields={[
          { name: 'month', label: 'Month (UTC)', type: 'month', placeholder: '2026-11' },
          { name: 'by', label: 'Grouped by', options: groupingNames },
          { name: 'tenant', label: 'Tenant' },
          { name: 'type', label: 'Job type' },
          { name: 'model', label: 'Model' },
        ]}
      />
      <Totals total={spend.total} apart={spend.apart} />
      <Table
        label="Spent"
        caption={`What LLM calls cost in ${month}, exact to the nano-dollar as the ledger has it. Days are those on which calls began.`}
        columns={columnsOf(grouping)}
        rows={spend.rows}
        empty="No call was made in this month, or none that matches."
      />
      <Cut spend={spend} />
      <p>
        <a href={address('/money.csv', fields)} download="">
          CSV of all rows
        </a>{' '}
        <span class="quiet">
          A FOCUS file for FinOps tools:{' '}
          <code>purser budget report --format focus --month {month}</code>
        </span>
      </p>
      <h2 id="unknown">Calls of unknown cost</h2>
      <UnknownCalls unknown={unknown} />
      <h2>Refused calls</h2>
      <Refused refused={refused} />
    </Page>
  );
}
