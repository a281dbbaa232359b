/** The budgets of the running month by tenant, the stops of LLM calls, and the circuit breakers. */
import type { BudgetStatus } from '../../../budget/budgets.ts';
import type { Stop } from '../../../budget/stops.ts';
import type { circuitBreakers } from '../../../operations/money/calls.ts';
import { hasRole } from '../../../operations/operators/roles.ts';
import type { Access } from '../../web-env.ts';
import { Page, Time } from '../layout.tsx';
import { Badge } from '../parts/badge.tsx';
import { FilterForm } from '../parts/filter-form.tsx';
import { Outcome } from '../parts/outcome.tsx';
import type { Outcomes } from '../parts/outcome.tsx';
import { Pager } from '../parts/pager.tsx';
import { RowAct } from '../parts/row-act.tsx';
import { Table } from '../parts/table.tsx';
import { Usd } from '../parts/usd.tsx';

type Breaker = Awaited<ReturnType<typeof circuitBreakers>>[number];

export interface BudgetsPageProps {
  readonly access: Access;
  readonly budgets: readonly BudgetStatus[];
  readonly stops: readonly Stop[];
  readonly breakers: readonly Breaker[];
  readonly tenant?: string | undefined;
  readonly after?: string | undefined;
  readonly next?: string | undefined;
  readonly done?: string | undefined;
}

const outcomes: Outcomes = {
  lifted: 'The stop is lifted: these calls are made again, and parked jobs wake in the next sweep.',
  stop_gone: 'There was no such stop any more.',
  closed: 'The circuit breaker is closed: workers call again within a second.',
};

/** Whether anything is left. */
function Room({ budget }: { readonly budget: BudgetStatus }) {
  const isUsedUp = budget.availableUsd === '0' || budget.availableUsd.startsWith('-');
  if (!isUsedUp) return null;
  return budget.hardLimit ? (
    <Badge tone="bad" text="used up" />
  ) : (
    <Badge tone="warn" text="beyond its soft limit" />
  );
}

function Budgets({ budgets }: { readonly budgets: readonly BudgetStatus[] }) {
  return (
    <Table
      label="Budgets"
      caption={`The month of ${budgets[0]?.periodStart.slice(0, 7) ?? 'now'} (UTC). What is available is the limit and top-ups, less what is spent, unknown and held.`}
      rows={budgets}
      empty="No tenant has such an id."
      columns={[
        {
          title: 'Tenant',
          isHead: true,
          cell: ({ tenantId }) => (
            <a href={`/budgets/${encodeURIComponent(tenantId)}`}>{tenantId}</a>
          ),
        },
        { title: 'Limit', isNumber: true, cell: (row) => <Usd usd={row.monthlyLimitUsd} /> },
        {
          title: 'Kind',
          cell: ({ hardLimit, limitSource }) => `${hardLimit ? 'hard' : 'soft'}, by ${limitSource}`,
        },
        { title: 'Top-ups', isNumber: true, cell: (row) => <Usd usd={row.topUpUsd} /> },
        { title: 'Spent', isNumber: true, cell: (row) => <Usd usd={row.spentUsd} /> },
        { title: 'Unknown', isNumber: true, cell: (row) => <Usd usd={row.unknownUsd} /> },
        { title: 'Held', isNumber: true, cell: (row) => <Usd usd={row.reservedUsd} /> },
        { title: 'Available', isNumber: true, cell: (row) => <Usd usd={row.availableUsd} /> },
        { title: 'State', isTitleHidden: true, cell: (budget) => <Room budget={budget} /> },
      ]}
    />
  );
}

const namesOf = ({ tenantId, provider, model }: Stop): string =>
  [
    ...(tenantId === undefined ? [] : [`tenant ${tenantId}`]),
    ...(provider === undefined ? [] : [`provider ${provider}`]),
    ...(model === undefined ? [] : [`model ${model}`]),
  ].join(', ');

const fieldsOf = ({ tenantId = '', provider = '', model = '' }: Stop) => ({
  tenant: tenantId,
  provider,
  model,
});

function Stops({ access, stops }: Pick<BudgetsPageProps, 'access' | 'stops'>) {
  const mayAct = hasRole(access.role, 'operator');
  return (
    <Table
      label="Stops of LLM calls"
      caption="Calls that an operator has stopped. Command: purser llm stop|resume"
      rows={stops}
      empty="No LLM call is stopped."
      columns={[
        { title: 'Calls of', isHead: true, cell: namesOf },
        { title: 'Running calls', cell: ({ aborts }) => (aborts ? 'are ended too' : 'go on') },
        { title: 'By', cell: ({ by }) => by },
        { title: 'Since (UTC)', cell: ({ at }) => <Time at={at} /> },
        { title: 'Reason', cell: ({ reason }) => reason },
        ...(mayAct
          ? [
              {
                title: 'Lift',
                isTitleHidden: true,
                cell: (stop: Stop) => (
                  <RowAct
                    access={access}
                    action="/budgets/lift-stop"
                    label="Lift"
                    of={`the stop of ${namesOf(stop)}`}
                    hidden={fieldsOf(stop)}
                  />
                ),
              },
            ]
          : []),
      ]}
    />
  );
}

function Breakers({ access, breakers }: Pick<BudgetsPageProps, 'access' | 'breakers'>) {
  const mayAct = hasRole(access.role, 'operator');
  return (
    <Table
      label="Circuit breakers"
      caption="Circuit breakers of models and credentials, those that are not closed first."
      rows={breakers}
      empty="No circuit breaker has ever opened."
      columns={[
        { title: 'Breaker', isHead: true, cell: ({ name }) => name },
        {
          title: 'State',
          cell: ({ state }) => <Badge tone={state === 'closed' ? 'good' : 'bad'} text={state} />,
        },
        { title: 'Since (UTC)', cell: ({ at }) => <Time at={at} /> },
        {
          title: 'Next try (UTC)',
          cell: ({ until }) => (until === null ? '' : <Time at={until} />),
        },
        { title: 'Opened', isNumber: true, cell: ({ opens }) => `${opens} times` },
        { title: 'Last error', cell: ({ lastError }) => lastError ?? '' },
        ...(mayAct
          ? [
              {
                title: 'Close',
                isTitleHidden: true,
                cell: ({ name, state }: Breaker) =>
                  state === 'closed' ? null : (
                    <RowAct
                      access={access}
                      action="/budgets/close-breaker"
                      label="Close"
                      of={`the circuit breaker ${name}`}
                      hidden={{ breaker: name }}
                    />
                  ),
              },
            ]
          : []),
      ]}
    />
  );
}

export function BudgetsPage(props: BudgetsPageProps) {
  const { access, budgets, stops, breakers, tenant, after, next, done } = props;
  return (
    <Page title="Budgets" access={access} path="/budgets">
      <Outcome of={outcomes} done={done} />
      <FilterForm
        path="/budgets"
        values={{ tenant }}
        fields={[{ name: 'tenant', label: 'Tenant id begins with' }]}
      />
      <Budgets budgets={budgets} />
      <Pager
        path="/budgets"
        fields={{ tenant }}
        cursor="after"
        next={next}
        isLater={after !== undefined}
        label="Next tenants"
      />
      <h2>Stops of LLM calls</h2>
      <Stops access={access} stops={stops} />
      <h2>Circuit breakers</h2>
      <Breakers access={access} breakers={breakers} />
    </Page>
  );
}
