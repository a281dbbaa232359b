/** The budget of one tenant: its month, its further limits with their counters, and the forms that change them. */
import type { BudgetStatus } from '../../../budget/budgets.ts';
import { scopeKinds } from '../../../budget/scopes.ts';
import type { ScopeStatus } from '../../../budget/scopes.ts';
import { hasRole } from '../../../operations/operators/roles.ts';
import type { Access } from '../../web-env.ts';
import { Page, Time } from '../layout.tsx';
import { ActForm } from '../parts/act-form.tsx';
import { Facts } from '../parts/notice.tsx';
import { Outcome } from '../parts/outcome.tsx';
import type { Outcomes } from '../parts/outcome.tsx';
import { address, numberText } from '../parts/pager.tsx';
import { RowAct } from '../parts/row-act.tsx';
import { Table } from '../parts/table.tsx';
import type { Column } from '../parts/table.tsx';
import { TenantLink } from '../parts/tenant-link.tsx';
import { Usd } from '../parts/usd.tsx';

export interface BudgetPageProps {
  readonly access: Access;
  readonly budget: BudgetStatus;
  readonly scopes: readonly ScopeStatus[];
  readonly isCut: boolean;
  readonly done?: string | undefined;
}

const outcomes: Outcomes = {
  set: 'The monthly limit is set. It holds for every call from now on.',
  topped_up:
    'The amount is added to this month alone. Parked jobs that fit wake in the next sweep.',
  scope_added: 'The limit is added. What was spent in its running period counts.',
  scope_changed: 'The limit is changed.',
  scope_unchanged: 'The limit was so before; nothing was changed.',
  scope_removed: 'The limit is removed.',
  scope_gone: 'There was no such limit any more.',
};

function Month({ budget }: { readonly budget: BudgetStatus }) {
  const { hardLimit, limitSource, ownSpentUsd, ownUnknownUsd, ownReservedUsd } = budget;
  const hasOwn = [ownSpentUsd, ownUnknownUsd, ownReservedUsd].some((usd) => usd !== '0');
  return (
    <Facts
      of={[
        ['Monthly limit', <Usd usd={budget.monthlyLimitUsd} />],
        ['Kind', `${hardLimit ? 'hard' : 'soft'}, set by ${limitSource}`],
        ['Top-ups of this month', <Usd usd={budget.topUpUsd} />],
        ['Spent', <Usd usd={budget.spentUsd} />],
        ['Unknown, charged at the hold', <Usd usd={budget.unknownUsd} />],
        ['Held by calls that run', <Usd usd={budget.reservedUsd} />],
        ['Available', <Usd usd={budget.availableUsd} />],
        ['Resets (UTC)', <Time at={budget.resetsAt} />],
        ['Spent with own keys, in no budget', hasOwn ? <Usd usd={ownSpentUsd} /> : null],
      ]}
    />
  );
}

function Hardness({ isHard }: { readonly isHard: boolean }) {
  return (
    <label>
      Beyond it
      <select name="limit">
        <option value="hard" selected={isHard}>
          hard: calls are refused
        </option>
        <option value="soft" selected={!isHard}>
          soft: calls are flagged
        </option>
      </select>
    </label>
  );
}

function Dollars({
  label,
  value,
  isRequired,
}: {
  readonly label: string;
  readonly value?: string;
  readonly isRequired: boolean;
}) {
  return (
    <label>
      {label}
      <input
        name="usd"
        required={isRequired}
        inputmode="decimal"
        value={value ?? ''}
        autocomplete="off"
      />
    </label>
  );
}

const titleOf = ({ kind, subject, period }: ScopeStatus): string =>
  `${kind.replace('_', ' ')} ${subject ?? (kind === 'tenant' ? '' : '(each by itself)')} per ${period}`;

const scopeColumns: readonly Column<ScopeStatus>[] = [
  { title: 'Limit of', isHead: true, cell: titleOf },
  { title: 'Value', cell: ({ value }) => value ?? '(no call yet)' },
  {
    title: 'At most',
    isNumber: true,
    cell: ({ limitUsd, limitCalls, hardLimit }) =>
      [
        ...(limitUsd === null ? [] : [`$${limitUsd}`]),
        ...(limitCalls === null ? [] : [`${numberText(limitCalls)} calls`]),
        ...(hardLimit ? [] : ['soft']),
      ].join(', '),
  },
  { title: 'Spent', isNumber: true, cell: ({ spentUsd }) => <Usd usd={spentUsd} /> },
  { title: 'Unknown', isNumber: true, cell: ({ unknownUsd }) => <Usd usd={unknownUsd} /> },
  { title: 'Held', isNumber: true, cell: ({ reservedUsd }) => <Usd usd={reservedUsd} /> },
  { title: 'Calls', isNumber: true, cell: ({ calls }) => numberText(calls) },
  { title: 'Zone', cell: ({ timeZone }) => timeZone },
  {
    title: 'Resets (UTC)',
    cell: ({ resetsAt }) => (resetsAt === null ? '' : <Time at={resetsAt} />),
  },
];

function Scopes({ access, budget, scopes, isCut }: Omit<BudgetPageProps, 'done'>) {
  const remove: Column<ScopeStatus> = {
    title: 'Remove',
    isTitleHidden: true,
    cell: (scope) => (
      <RowAct
        access={access}
        action="/budgets/remove-scope"
        label="Remove"
        of={`the limit of ${titleOf(scope)}`}
        isDanger={true}
        question={`Remove the limit of ${titleOf(scope)}?`}
        hidden={{
          tenant: budget.tenantId,
          kind: scope.kind,
          subject: scope.subject ?? '',
          each: scope.period,
        }}
      />
    ),
  };
  return (
    <>
      <Table
        label="Further limits"
        caption="Limits of this tenant's calls beside its month, with what was used of each in its running period."
        rows={scopes}
        empty="This tenant has no further limit."
        columns={hasRole(access.role, 'operator') ? [...scopeColumns, remove] : scopeColumns}
      />
      {isCut ? <p>The first {scopes.length} are shown; all: purser scopes list</p> : null}
    </>
  );
}

function NewScope({ access, tenantId }: { readonly access: Access; readonly tenantId: string }) {
  return (
    <ActForm
      access={access}
      action="/budgets/set-scope"
      label="Set this limit"
      hidden={{ tenant: tenantId }}
    >
      <label>
        Kind
        <select name="kind">
          {scopeKinds.map((kind) => (
            <option value={kind}>{kind.replace('_', ' ')}</option>
          ))}
        </select>
      </label>
      <label>
        Name (empty: each by itself)
        <input name="subject" maxlength={200} autocomplete="off" />
      </label>
      <label>
        Per
        <select name="each">
          {['day', 'month', 'job'].map((period) => (
            <option value={period}>{period}</option>
          ))}
        </select>
      </label>
      <label>
        Time zone
        <input name="zone" placeholder="UTC" maxlength={60} />
      </label>
      <Dollars label="US dollars" isRequired={false} />
      <label>
        Calls
        <input name="calls" inputmode="numeric" autocomplete="off" />
      </label>
      <Hardness isHard={true} />
    </ActForm>
  );
}

export function BudgetPage(props: BudgetPageProps) {
  const { access, budget, done } = props;
  const { tenantId } = budget;
  const hidden = { tenant: tenantId };
  return (
    <Page title={`Budget of ${tenantId}`} access={access} path="/budgets">
      <Outcome of={outcomes} done={done} />
      <Month budget={budget} />
      <p>
        <TenantLink id={tenantId} label={`Tenant ${tenantId}`} />,{' '}
        <a href={address('/money', { tenant: tenantId, by: 'type_and_model' })}>what it spent</a>
      </p>
      {hasRole(access.role, 'operator') ? (
        <>
          <h2>Monthly limit</h2>
          <ActForm access={access} action="/budgets/set" label="Set the limit" hidden={hidden}>
            <Dollars
              label="US dollars per month"
              value={budget.monthlyLimitUsd}
              isRequired={true}
            />
            <Hardness isHard={budget.hardLimit} />
          </ActForm>
          <h2>Top-up of this month</h2>
          <ActForm access={access} action="/budgets/top-up" label="Add" hidden={hidden}>
            <Dollars label="US dollars more" isRequired={true} />
          </ActForm>
        </>
      ) : null}
      <h2>Further limits</h2>
      <Scopes {...props} />
      {hasRole(access.role, 'operator') ? (
        <>
          <h2>Set a further limit</h2>
          <NewScope access={access} tenantId={tenantId} />
        </>
      ) : null}
    </Page>
  );
}
