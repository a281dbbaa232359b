/** The workers of the fleet with their running jobs, silent ones first. */
import { hasRole } from '../../../operations/operators/roles.ts';
import type {
  RunningJobRow,
  WorkerList,
  WorkerRow,
  WorkerState,
} from '../../../operations/workers/list.ts';
import type { Access } from '../../web-env.ts';
import { Page, Time } from '../layout.tsx';
import { Badge } from '../parts/badge.tsx';
import type { Tone } from '../parts/badge.tsx';
import { Length } from '../parts/length.tsx';
import { Notice } from '../parts/notice.tsx';
import { Outcome } from '../parts/outcome.tsx';
import type { Outcomes } from '../parts/outcome.tsx';
import { numberText } from '../parts/pager.tsx';
import { RowAct } from '../parts/row-act.tsx';
import { Table } from '../parts/table.tsx';
import type { Column } from '../parts/table.tsx';
import { TenantLink } from '../parts/tenant-link.tsx';

export interface WorkersPageProps extends WorkerList {
  readonly access: Access;
  readonly done?: string | undefined;
}

const outcomes: Outcomes = {
  drained: 'The worker takes no new jobs from its next heartbeat on, and ends those that it has.',
  undone: 'The worker takes jobs again from its next heartbeat on.',
  unchanged: 'Nothing was changed: it was so before.',
};

const tones: Readonly<Record<WorkerState, Tone>> = {
  taking: 'good',
  draining: 'warn',
  empty: 'warn',
  silent: 'bad',
};

const order: readonly WorkerState[] = ['silent', 'draining', 'empty', 'taking'];

const actsOf = (access: Access): Column<WorkerRow> => ({
  title: 'Acts',
  isTitleHidden: true,
  cell: ({ workerId, drain, beatAt }) =>
    beatAt === null ? null : (
      <RowAct
        access={access}
        action={drain === null ? '/workers/drain' : '/workers/undo-drain'}
        label={drain === null ? 'Drain' : 'Undo drain'}
        of={workerId}
        hidden={{ worker: workerId }}
      />
    ),
});

const workerColumns: readonly Column<WorkerRow>[] = [
  {
    title: 'Worker',
    isHead: true,
    cell: ({ workerId }) => <span class="id">{workerId}</span>,
  },
  {
    title: 'State',
    cell: ({ state, drain }) => (
      <>
        <Badge tone={tones[state]} text={state} />
        {drain === null ? null : (
          <div class="quiet">
            by {drain.by}
            {drain.reason === null ? '' : `: ${drain.reason}`}
          </div>
        )}
      </>
    ),
  },
  {
    title: 'Host',
    cell: ({ host, pid }) => (host === null ? '(no heartbeat)' : `${host}, pid ${pid ?? ''}`),
  },
  { title: 'Version', cell: ({ version }) => version ?? '' },
  {
    title: 'Running',
    isNumber: true,
    cell: ({ running, slots }) => (slots === null ? String(running) : `${running} of ${slots}`),
  },
  { title: 'Job types', cell: ({ jobTypes }) => jobTypes.join(', ') },
  {
    title: 'Started (UTC)',
    cell: ({ startedAt }) => (startedAt === null ? '' : <Time at={startedAt} />),
  },
  { title: 'Last beat (UTC)', cell: ({ beatAt }) => (beatAt === null ? '' : <Time at={beatAt} />) },
];

function Progress({ job }: { readonly job: RunningJobRow }) {
  const { progress, note } = job;
  const share = progress === null ? undefined : `${Math.round(progress * 100)} %`;
  return <>{[share, note].filter((text) => text != null && text !== '').join(', ')}</>;
}

const jobColumns: readonly Column<RunningJobRow>[] = [
  { title: 'Job', isHead: true, cell: ({ jobId }) => <a href={`/jobs/${jobId}`}>{jobId}</a> },
  { title: 'Type', cell: ({ jobType }) => jobType },
  { title: 'Tenant', cell: ({ tenantId }) => <TenantLink id={tenantId} /> },
  { title: 'Attempt', isNumber: true, cell: ({ attempt }) => String(attempt) },
  { title: 'Runs for', isNumber: true, cell: ({ ageMs }) => <Length ms={ageMs} /> },
  { title: 'Progress', cell: (job) => <Progress job={job} /> },
  { title: 'Worker', cell: ({ workerId }) => <span class="id">{workerId}</span> },
];

function Silent({ workers }: { readonly workers: readonly WorkerRow[] }) {
  const silent = workers.filter(({ state }) => state === 'silent');
  if (silent.length === 0) return null;
  return (
    <Notice tone="bad">
      Silent for more than 15 s:{' '}
      {silent
        .map(({ workerId }) => workerId)
        .slice(0, 10)
        .join(', ')}
      . Jobs that they had begun run elsewhere when their leases expire.
    </Notice>
  );
}

export function WorkersPage({ access, workers, jobs, runningJobs, done }: WorkersPageProps) {
  const mayAct = hasRole(access.role, 'operator');
  const sorted = workers.toSorted(
    (one, other) => order.indexOf(one.state) - order.indexOf(other.state),
  );
  return (
    <Page title="Workers" access={access} path="/workers">
      <Outcome of={outcomes} done={done} />
      <Silent workers={workers} />
      <Table
        label="Workers"
        caption="A drained worker takes nothing new and ends what it has."
        rows={sorted}
        empty="No worker is running; start one with: purser start worker"
        columns={mayAct ? [...workerColumns, actsOf(access)] : workerColumns}
      />
      <h2>Running jobs</h2>
      <Table
        label="Running jobs"
        caption={
          jobs.length < runningJobs
            ? `The ${jobs.length} that have run for longest, of ${numberText(runningJobs)}`
            : 'Those that have run for longest first'
        }
        rows={jobs}
        empty="No job is running."
        columns={jobColumns}
      />
    </Page>
  );
}
