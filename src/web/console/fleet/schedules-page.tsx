/** Schedules by job type and cohort, with their coming ticks and last run; below, those of one tenant. */
import { hasRole } from '../../../operations/operators/roles.ts';
import type { LastRun } from '../../../schedules/last-runs.ts';
import type { ScheduleSummary, TenantSchedule } from '../../../schedules/settings.ts';
import type { Access } from '../../web-env.ts';
import { Page, Time } from '../layout.tsx';
import { Badge } from '../parts/badge.tsx';
import { FilterForm } from '../parts/filter-form.tsx';
import { Notice } from '../parts/notice.tsx';
import { Outcome } from '../parts/outcome.tsx';
import type { Outcomes } from '../parts/outcome.tsx';
import { numberText } from '../parts/pager.tsx';
import { RowAct } from '../parts/row-act.tsx';
import { Table } from '../parts/table.tsx';
import type { Column } from '../parts/table.tsx';
import { TenantLink } from '../parts/tenant-link.tsx';
import { TenantSchedules } from './tenant-schedules.tsx';

export interface ShownSchedule extends ScheduleSummary {
  /** The next ones, or what is wrong with the expression. */
  readonly ticks: readonly Date[] | string;
}

export interface SchedulesPageProps {
  readonly access: Access;
  readonly schedules: readonly ShownSchedule[];
  readonly tenantId?: string | undefined;
  readonly ofTenant?: readonly TenantSchedule[] | undefined;
  /** Of the tenant, where one is named. */
  readonly lastRuns: readonly LastRun[];
  readonly done?: string | undefined;
  readonly jobId?: string | undefined;
}

const outcomes: Outcomes = {
  paused: 'The schedule is paused. Jobs that it made run on.',
  resumed: 'The schedule is resumed. The next tick makes the next job.',
  not_paused: 'The schedule was not paused.',
};

function Ran({ jobId }: { readonly jobId: string | undefined }) {
  return (
    <Notice tone="good">
      {jobId === undefined ? 'A job' : <a href={`/jobs/${jobId}`}>Job {jobId}</a>} is enqueued. The
      ticks of the schedule stay as they are.
    </Notice>
  );
}

function Ticks({ schedule }: { readonly schedule: ShownSchedule }) {
  const { enabled, pausedBy, pausedReason, ticks } = schedule;
  if (!enabled) {
    const reason = pausedReason === null ? '' : `: ${pausedReason}`;
    return (
      <>
        <Badge tone="warn" text="paused" /> by {pausedBy ?? 'SQL'}
        {reason}
      </>
    );
  }
  if (typeof ticks === 'string') return <Badge tone="bad" text={ticks} />;
  return (
    <>
      {ticks.map((at) => (
        <div>
          <Time at={at} />
        </div>
      ))}
    </>
  );
}

function Last({ run }: { readonly run: LastRun | undefined }) {
  if (run === undefined) return <>none on record</>;
  return (
    <>
      <Time at={run.bucket} />
      <div>
        <a href={`/jobs/${run.jobId}`}>job {run.jobId}</a> of <TenantLink id={run.tenantId} />
      </div>
    </>
  );
}

const nameOf = ({ jobType, cohort }: ScheduleSummary): string =>
  `the schedule of ${jobType} for ${cohort}`;

const actsOf = (access: Access): Column<ShownSchedule> => ({
  title: 'Acts',
  isTitleHidden: true,
  cell: (schedule) => {
    const { jobType, cohort, enabled } = schedule;
    return (
      <RowAct
        access={access}
        action={enabled ? '/schedules/pause' : '/schedules/resume'}
        label={enabled ? 'Pause' : 'Resume'}
        of={nameOf(schedule)}
        hidden={{ type: jobType, cohort }}
      />
    );
  },
});

export function SchedulesPage(props: SchedulesPageProps) {
  const { access, schedules, tenantId, ofTenant, lastRuns, done, jobId } = props;
  const columns: readonly Column<ShownSchedule>[] = [
    { title: 'Job type', isHead: true, cell: ({ jobType }) => jobType },
    { title: 'Cohort', cell: ({ cohort }) => cohort.replace('_', ' ') },
    { title: 'Schedule', cell: ({ cron, zone }) => `${cron} ${zone}` },
    { title: 'Splay', isNumber: true, cell: ({ splaySeconds }) => `${splaySeconds} s` },
    { title: 'Tenants', isNumber: true, cell: ({ tenants }) => numberText(tenants) },
    {
      title: 'Of them',
      cell: ({ overridden, paused }) =>
        [
          ...(overridden === 0 ? [] : [`${overridden} with their own`]),
          ...(paused === 0 ? [] : [`${paused} paused`]),
        ].join(', '),
    },
    { title: 'Next ticks (UTC)', cell: (schedule) => <Ticks schedule={schedule} /> },
    ...(tenantId === undefined
      ? [
          {
            title: 'Last run (UTC)',
            cell: ({ jobType, cohort }: ShownSchedule) => (
              <Last
                run={lastRuns.find((run) => run.jobType === jobType && run.cohort === cohort)}
              />
            ),
          },
        ]
      : []),
    ...(hasRole(access.role, 'operator') ? [actsOf(access)] : []),
  ];
  return (
    <Page title="Schedules" access={access} path="/schedules">
      {done === 'run' ? <Ran jobId={jobId} /> : <Outcome of={outcomes} done={done} />}
      <FilterForm
        path="/schedules"
        values={{ tenant: tenantId }}
        fields={[{ name: 'tenant', label: 'Schedules of tenant' }]}
      />
      {tenantId === undefined || ofTenant === undefined ? null : (
        <>
          <h2>
            Schedules of <TenantLink id={tenantId} />
          </h2>
          <TenantSchedules
            access={access}
            tenantId={tenantId}
            schedules={ofTenant}
            lastRuns={lastRuns}
          />
          <h2>All schedules</h2>
        </>
      )}
      <Table
        label="Schedules"
        caption="By job type and cohort. To run one now, name a tenant above."
        rows={schedules}
        empty="There is no schedule; add one with: purser schedules set"
        columns={columns}
      />
    </Page>
  );
}
