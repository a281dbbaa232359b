/** What is paused or stopped, by whom, since when and why; and the forms of pauses and stops. */
import type { Pause } from '../../../jobs/pauses.ts';
import { hasRole } from '../../../operations/operators/roles.ts';
import type { Access } from '../../web-env.ts';
import { Page, Time } from '../layout.tsx';
import { ActForm } from '../parts/act-form.tsx';
import { Badge } from '../parts/badge.tsx';
import { Outcome } from '../parts/outcome.tsx';
import type { Outcomes } from '../parts/outcome.tsx';
import { RowAct } from '../parts/row-act.tsx';
import { Table } from '../parts/table.tsx';
import type { Column } from '../parts/table.tsx';
import { TenantLink } from '../parts/tenant-link.tsx';

const outcomes: Outcomes = {
  paused: 'It is paused: no job of it is dispatched. Jobs that are in a queue already still run.',
  stopped:
    'It is stopped: queued jobs went back to waiting, and workers hand running ones back within seconds, no attempt counted.',
  resumed: 'It is resumed: its jobs are dispatched again.',
  not_paused: 'It was not paused.',
};

const titleOf = ({ scope, name }: Pause): string => {
  if (scope === 'all') return 'all jobs';
  return scope === 'tenant' ? `tenant ${name}` : `job type ${name}`;
};

export interface PausesTableProps {
  readonly access: Access;
  readonly pauses: readonly Pause[];
  readonly empty: string;
}

export function PausesTable({ access, pauses, empty }: PausesTableProps) {
  const resume: Column<Pause> = {
    title: 'Resume',
    isTitleHidden: true,
    cell: (pause) => (
      <RowAct
        access={access}
        action="/pauses/resume"
        label="Resume"
        of={titleOf(pause)}
        hidden={{ scope: pause.scope, name: pause.name }}
      />
    ),
  };
  const columns: readonly Column<Pause>[] = [
    {
      title: 'Of',
      isHead: true,
      cell: (pause) =>
        pause.scope === 'tenant' ? (
          <TenantLink id={pause.name} label={titleOf(pause)} />
        ) : (
          titleOf(pause)
        ),
    },
    {
      title: 'State',
      cell: ({ stops }) =>
        stops ? <Badge tone="bad" text="stopped" /> : <Badge tone="warn" text="paused" />,
    },
    { title: 'By', cell: ({ by }) => by },
    { title: 'Since (UTC)', cell: ({ at }) => <Time at={at} /> },
    { title: 'Reason', cell: ({ reason }) => reason },
  ];
  return (
    <Table
      label="Pauses"
      rows={pauses}
      empty={empty}
      columns={hasRole(access.role, 'operator') ? [...columns, resume] : columns}
    />
  );
}

function Target() {
  return (
    <>
      <label>
        What
        <select name="scope">
          <option value="job_type">jobs of a type</option>
          <option value="tenant">jobs of a tenant</option>
          <option value="all">all jobs</option>
        </select>
      </label>
      <label>
        Its name (empty for all jobs)
        <input name="name" maxlength={200} autocapitalize="none" autocomplete="off" />
      </label>
    </>
  );
}

export interface PausesPageProps {
  readonly access: Access;
  readonly pauses: readonly Pause[];
  readonly done?: string | undefined;
}

export function PausesPage({ access, pauses, done }: PausesPageProps) {
  return (
    <Page title="Pauses" access={access} path="/pauses">
      <Outcome of={outcomes} done={done} />
      <PausesTable access={access} pauses={pauses} empty="Nothing is paused or stopped." />
      {hasRole(access.role, 'operator') ? (
        <>
          <h2>Pause</h2>
          <p class="quiet">No new job is dispatched; jobs in a queue and running ones go on.</p>
          <ActForm access={access} action="/pauses/pause" label="Pause">
            <Target />
          </ActForm>
          <h2>Stop now</h2>
          <p class="quiet">
            A pause under which queued and running jobs go back to waiting, no attempt counted. A
            resume undoes it.
          </p>
          <ActForm
            access={access}
            action="/pauses/stop"
            label="Stop"
            isDanger={true}
            question="Stop these jobs now? Running ones are handed back."
          >
            <Target />
          </ActForm>
        </>
      ) : null}
    </Page>
  );
}
