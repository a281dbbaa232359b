/** The schedules of one tenant as they apply to it now, with the forms that pause, resume and run them. */
import { hasRole } from '../../../operations/operators/roles.ts';
import type { LastRun } from '../../../schedules/last-runs.ts';
import type { TenantSchedule } from '../../../schedules/settings.ts';
import type { Access } from '../../web-env.ts';
import { Time } from '../layout.tsx';
import { Badge } from '../parts/badge.tsx';
import { RowAct } from '../parts/row-act.tsx';
import { Table } from '../parts/table.tsx';
import type { Column } from '../parts/table.tsx';

export interface TenantSchedulesProps {
  readonly access: Access;
  readonly tenantId: string;
  readonly schedules: readonly TenantSchedule[];
  readonly lastRuns: readonly LastRun[];
}

function NextRun({ schedule }: { readonly schedule: TenantSchedule }) {
  const { pausedBy, pause, cron, nextDue } = schedule;
  if (pausedBy !== null) {
    const by = `paused by ${pause?.by ?? 'SQL'}${pausedBy === 'cohort' ? ' for its cohort' : ''}`;
    return (
      <>
        <Badge tone="warn" text="paused" /> {pause?.reason == null ? by : `${by}: ${pause.reason}`}
      </>
    );
  }
  return cron === null ? <>none: its cohort has no schedule</> : <Time at={nextDue} />;
}

export function TenantSchedules(props: TenantSchedulesProps) {
  const { access, tenantId, schedules, lastRuns } = props;
  const acts: Column<TenantSchedule> = {
    title: 'Acts',
    isTitleHidden: true,
    cell: ({ jobType, pausedBy }) => {
      const of = `the schedule of ${jobType} for ${tenantId}`;
      const hidden = { type: jobType, tenant: tenantId };
      return (
        <>
          {pausedBy === 'tenant' ? (
            <RowAct
              access={access}
              action="/schedules/resume"
              label="Resume"
              of={of}
              hidden={hidden}
            />
          ) : (
            <RowAct
              access={access}
              action="/schedules/pause"
              label="Pause"
              of={of}
              hidden={hidden}
            />
          )}
          <RowAct access={access} action="/schedules/run" label="Run now" of={of} hidden={hidden} />
        </>
      );
    },
  };
  const columns: readonly Column<TenantSchedule>[] = [
    { title: 'Job type', isHead: true, cell: ({ jobType }) => jobType },
    { title: 'Cohort', cell: ({ cohort }) => cohort.replace('_', ' ') },
    {
      title: 'Schedule',
      cell: ({ cron, zone, isOverridden }) =>
        `${cron ?? ''} ${zone}${isOverridden ? ' (its own)' : ''}`,
    },
    { title: 'Next run (UTC)', cell: (schedule) => <NextRun schedule={schedule} /> },
    {
      title: 'Last run (UTC)',
      cell: ({ jobType, lastBucket }) => {
        const run = lastRuns.find((one) => one.jobType === jobType);
        if (run !== undefined) {
          return (
            <>
              <Time at={run.bucket} /> <a href={`/jobs/${run.jobId}`}>job {run.jobId}</a>
            </>
          );
        }
        return lastBucket === null ? 'never' : <Time at={lastBucket} />;
      },
    },
  ];
  return (
    <Table
      label={`Schedules of ${tenantId}`}
      rows={schedules}
      empty="This tenant has no schedule."
      columns={hasRole(access.role, 'operator') ? [...columns, acts] : columns}
    />
  );
}
