/** One tenant: why nothing of it runs, its money, its limits, its schedules, and the pauses over it. */
import type { BudgetStatus } from '../../../budget/budgets.ts';
import type { JobLimit } from '../../../jobs/limits/job-limits.ts';
import type { Pause } from '../../../jobs/pauses.ts';
import type { LimitsInForce } from '../../../operations/tenants/limits.ts';
import { maxBacklogCounted } from '../../../operations/tenants/list.ts';
import type { ListedTenant } from '../../../operations/tenants/list.ts';
import type { Cause } from '../../../operations/why/cause.ts';
import type { LastRun } from '../../../schedules/last-runs.ts';
import type { TenantSchedule } from '../../../schedules/settings.ts';
import type { Access } from '../../web-env.ts';
import { Page, Time } from '../layout.tsx';
import { Length } from '../parts/length.tsx';
import { Facts } from '../parts/notice.tsx';
import { address, countText, numberText } from '../parts/pager.tsx';
import { Table } from '../parts/table.tsx';
import { Usd } from '../parts/usd.tsx';
import { PausesTable } from './pauses-page.tsx';
import { TenantSchedules } from './tenant-schedules.tsx';

export interface TenantPageProps {
  readonly access: Access;
  readonly tenant: ListedTenant;
  readonly budget: BudgetStatus;
  readonly limits: LimitsInForce;
  readonly jobLimits: readonly JobLimit[];
  readonly schedules: readonly TenantSchedule[];
  readonly lastRuns: readonly LastRun[];
  readonly pauses: readonly Pause[];
  readonly causes: readonly Cause[];
}

function Causes({ causes }: { readonly causes: readonly Cause[] }) {
  return (
    <ol class="causes">
      {causes.map(({ says, lift }) => (
        <li>
          {says}
          {lift === null ? null : (
            <>
              : <code>{lift}</code>
            </>
          )}
        </li>
      ))}
    </ol>
  );
}

const orNone = (limit: string | null): string =>
  limit === null ? 'no limit' : numberText(Number(limit));

const targetOf = ({ jobType, group }: JobLimit): string =>
  [
    jobType === null ? 'all job types' : `type ${jobType}`,
    ...(group === null ? [] : [`group ${group}`]),
  ].join(', ');

const startsOf = ({ maxStarts, perSeconds, started, ofPlan }: JobLimit): string =>
  maxStarts === null
    ? ''
    : `${maxStarts} in ${perSeconds} s${started === null ? '' : `, ${started} used`}${ofPlan ? ' (plan)' : ''}`;

function JobLimits({ jobLimits }: { readonly jobLimits: readonly JobLimit[] }) {
  return (
    <Table
      label="Limits of jobs"
      caption="Limits of this tenant's running jobs and starts. Command: purser limits"
      rows={jobLimits}
      empty="No limit of running jobs or starts is its own."
      columns={[
        { title: 'Of', isHead: true, cell: targetOf },
        {
          title: 'Running at once',
          cell: ({ maxRunning, inFlight }) =>
            maxRunning === null
              ? ''
              : `${maxRunning}${inFlight === null ? '' : `, ${inFlight} now`}`,
        },
        { title: 'Starts', cell: startsOf },
        { title: 'By', cell: ({ by }) => by },
        { title: 'Since (UTC)', cell: ({ at }) => <Time at={at} /> },
      ]}
    />
  );
}

export function TenantPage(props: TenantPageProps) {
  const { access, tenant, budget, limits, schedules, pauses, causes } = props;
  const { tenantId, p95WaitMs, nextRunAt } = tenant;
  return (
    <Page title={`Tenant ${tenantId}`} access={access} path="/tenants">
      <Facts
        of={[
          ['Plan', tenant.plan],
          ['Cohort', tenant.cohort.replace('_', ' ')],
          ['Last active (UTC)', <Time at={tenant.lastActiveAt} />],
          ['Next run (UTC)', nextRunAt === null ? 'none' : <Time at={nextRunAt} />],
          ['Backlog', countText(tenant.backlog, maxBacklogCounted)],
          ['Running', numberText(tenant.running)],
          ['Wait of newest jobs, p95', p95WaitMs === null ? null : <Length ms={p95WaitMs} />],
        ]}
      />
      <p class="links">
        <a href={address('/jobs', { tenant: tenantId })}>Jobs</a>{' '}
        <a href={address('/dead-letters', { tenant: tenantId })}>Dead letters</a>{' '}
        <a href={address('/money', { tenant: tenantId, by: 'type_and_model' })}>Money</a>{' '}
        <a href={`/budgets/${encodeURIComponent(tenantId)}`}>Budget</a>{' '}
        <a href={address('/audit', { tenant: tenantId })}>Audit</a>
      </p>
      <h2>Why its jobs do not run</h2>
      <Causes causes={causes} />
      <h2>Money of this month</h2>
      <Facts
        of={[
          ['Limit', <Usd usd={budget.monthlyLimitUsd} />],
          ['Top-ups', <Usd usd={budget.topUpUsd} />],
          ['Spent', <Usd usd={budget.spentUsd} />],
          ['Unknown', <Usd usd={budget.unknownUsd} />],
          ['Held', <Usd usd={budget.reservedUsd} />],
          ['Available', <Usd usd={budget.availableUsd} />],
          ['Refused calls', numberText(tenant.refused)],
        ]}
      />
      <h2>Limits</h2>
      <Facts
        of={[
          ['Weight', String(limits.weight)],
          ['Backlog, jobs', orNone(limits.maxJobs)],
          ['Backlog, bytes of payload', orNone(limits.maxBytes)],
          ['LLM calls per minute', orNone(limits.callsPerMinute)],
          ['LLM calls at once', orNone(limits.callsInFlight)],
        ]}
      />
      <JobLimits jobLimits={props.jobLimits} />
      <h2>Schedules</h2>
      <TenantSchedules
        access={access}
        tenantId={tenantId}
        schedules={schedules}
        lastRuns={props.lastRuns}
      />
      <h2>Pauses</h2>
      <PausesTable
        access={access}
        pauses={pauses}
        empty="Nothing is paused that would hold its jobs."
      />
    </Page>
  );
}
