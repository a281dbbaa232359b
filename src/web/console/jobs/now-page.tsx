/** What an operator looks at first: whether jobs move, how many stand where, and whether it gets worse. */
import { jobStates } from '../../../jobs/states.ts';
import type { FleetNow } from '../../../operations/now/now.ts';
import { lengthText } from '../../../operations/why/cause.ts';
import type { Access } from '../../web-env.ts';
import { Page } from '../layout.tsx';
import { StateBadge } from '../parts/badge.tsx';
import { Chart, Trend } from '../parts/chart.tsx';
import { Ago } from '../parts/length.tsx';
import { Live } from '../parts/live.tsx';
import { Notice } from '../parts/notice.tsx';
import { address, numberText } from '../parts/pager.tsx';
import { Table } from '../parts/table.tsx';
import { usdText } from '../parts/usd.tsx';
import { Causes } from './causes.tsx';

export interface NowPageProps {
  readonly access: Access;
  readonly fleet: FleetNow;
}

const staleMs = 180_000;
const hourMs = 3_600_000;

const newest = (values: readonly number[]): number => values.at(-1) ?? 0;
const sumOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

function States({ counts }: FleetNow) {
  return (
    <ul class="states">
      {jobStates.map((state) => (
        <li>
          <a href={address('/jobs', { state })}>
            <StateBadge state={state} />
            <strong>{numberText(counts[state] ?? 0)}</strong>
          </a>
        </li>
      ))}
    </ul>
  );
}

function Processes({ schedulers, workers, draining, silent }: FleetNow) {
  const parts = [
    `${schedulers} ${schedulers === 1 ? 'scheduler' : 'schedulers'}`,
    `${workers} ${workers === 1 ? 'worker' : 'workers'}`,
    ...(draining > 0 ? [`${draining} draining`] : []),
    ...(silent > 0 ? [`${silent} silent`] : []),
  ];
  return <p>Alive: {parts.join(', ')}.</p>;
}

/** A share in percent with its parts, of the newest hour. */
function rateText(failed: number, all: number): string {
  return all === 0
    ? 'no attempt'
    : `${percentText(failed / all)} (${numberText(failed)} of ${numberText(all)})`;
}

const percentText = (share: number): string => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;

function Charts({ hours, scheduleLagMs }: FleetNow) {
  const labelOf = (index: number): string =>
    new Date(hours.from.getTime() + index * hourMs).toISOString().slice(11, 16);
  const ended = hours.completed.map(
    (jobs, index) => jobs + (hours.deadLetters[index] ?? 0) + (hours.cancelled[index] ?? 0),
  );
  const attempts = hours.completed.map((jobs, index) => jobs + (hours.failedAttempts[index] ?? 0));
  const rates = attempts.map((all, index) =>
    all === 0 ? 0 : (hours.failedAttempts[index] ?? 0) / all,
  );
  const spent = hours.spentUsd.map(Number);
  return (
    <div class="charts">
      <Chart
        title="Jobs ended per hour"
        values={ended}
        labelOf={labelOf}
        textOf={numberText}
        current={`${numberText(newest(ended))} in the last hour`}
      />
      <Chart
        title="Failed attempts"
        tone="bad"
        values={rates}
        labelOf={labelOf}
        textOf={percentText}
        current={rateText(newest(hours.failedAttempts), newest(attempts))}
      />
      <Chart
        title="Spent on LLM calls per hour"
        values={spent}
        labelOf={labelOf}
        textOf={(value) => usdText(value.toFixed(9))}
        current={`${usdText(hours.spentUsd.at(-1) ?? '0')} in the last hour`}
      />
      <Chart
        title="Lag of the schedules"
        tone="warn"
        values={hours.scheduleLagMs}
        labelOf={labelOf}
        textOf={lengthText}
        current={`${lengthText(scheduleLagMs)} now`}
      />
    </div>
  );
}

function Waits({ hours, waiting }: FleetNow) {
  const now = new Map(waiting.map((type) => [type.jobType, type]));
  const types = [...new Set([...now.keys(), ...hours.waitsMs.keys()])].toSorted();
  return (
    <Table
      label="Oldest wait by type"
      caption="For how long the oldest due job of each type has waited for its begin."
      rows={types}
      empty="No job has waited in the last 24 hours."
      columns={[
        {
          title: 'Type',
          isHead: true,
          cell: (type) => <a href={address('/jobs', { type })}>{type}</a>,
        },
        {
          title: 'Oldest wait',
          isNumber: true,
          cell: (type) => {
            const waits = now.get(type);
            return waits === undefined ? 'none waits' : lengthText(waits.waitMs);
          },
        },
        {
          title: 'Waiting',
          isNumber: true,
          cell: (type) => {
            const jobs = now.get(type)?.waiting ?? 0;
            return jobs >= 1_000 ? '1,000+' : String(jobs);
          },
        },
        { title: 'Queued', isNumber: true, cell: (type) => numberText(now.get(type)?.queued ?? 0) },
        {
          title: 'Longest wait of each hour',
          cell: (type) => {
            const waits = hours.waitsMs.get(type) ?? [];
            const most = lengthText(Math.max(0, ...waits));
            return <Trend tone="warn" values={waits} text={`at most ${most} in 24 hours`} />;
          },
        },
      ]}
    />
  );
}

function SampleAge({ fleet: { at, hours } }: Pick<NowPageProps, 'fleet'>) {
  const { sampledAt } = hours;
  if (sampledAt === null) {
    return <p class="quiet">No scheduler has written figures yet; it does so once a minute.</p>;
  }
  if (at.getTime() - sampledAt.getTime() < staleMs) return null;
  return (
    <Notice tone="bad">
      The charts end at <Ago at={sampledAt} now={at} />: no scheduler has written figures since.
    </Notice>
  );
}

export function NowPage({ access, fleet }: NowPageProps) {
  const { hours } = fleet;
  return (
    <Page title="Now" access={access} path="/now">
      <Live id="now">
        {fleet.causes.length === 0 ? (
          <p>Nothing keeps jobs from running.</p>
        ) : (
          <>
            <h2>What keeps jobs from running</h2>
            <Causes causes={fleet.causes} />
          </>
        )}
        <Processes {...fleet} />
        <h2>Jobs by state</h2>
        <States {...fleet} />
        <h2>Last 24 hours</h2>
        <SampleAge fleet={fleet} />
        <p class="quiet">
          {numberText(sumOf(hours.completed))} jobs completed,{' '}
          {numberText(sumOf(hours.deadLetters))} became dead letters,{' '}
          {numberText(sumOf(hours.cancelled))} were cancelled. Times are UTC.
        </p>
        <Charts {...fleet} />
        <h2>Oldest wait by type</h2>
        <Waits {...fleet} />
      </Live>
    </Page>
  );
}
