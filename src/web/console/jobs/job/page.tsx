/** One job: its state and why it waits, what it did and cost, and what an operator may do with it. */
import type { Access } from '../../../web-env.ts';
import { hasRole } from '../../../../operations/operators/roles.ts';
import { terminalStates } from '../../../../jobs/states.ts';
import { maxCounted } from '../../../../jobs/search/list.ts';
import { Page, Time } from '../../layout.tsx';
import { StateBadge } from '../../parts/badge.tsx';
import { Live } from '../../parts/live.tsx';
import { Facts, Notice } from '../../parts/notice.tsx';
import { address, countText } from '../../parts/pager.tsx';
import { Table } from '../../parts/table.tsx';
import { Causes } from '../causes.tsx';
import { jobColumns } from '../list-page.tsx';
import { Acts } from './acts.tsx';
import { outcomeTexts } from './outcome.ts';
import type { Outcome } from './outcome.ts';
import { Attempts, Calls, Events, LogLines } from './history.tsx';
import type { JobView } from './read.ts';

export interface JobPageProps {
  readonly access: Access;
  /** Of the entry in the navigation. */
  readonly path: string;
  readonly view: JobView;
  readonly done: Outcome | undefined;
}

interface ViewProps {
  readonly view: JobView;
}

function Progress({ view: { job } }: ViewProps) {
  if (job.progress === null) return null;
  const { done, note } = job.progress;
  const percent = Math.round(done * 100);
  return (
    <p>
      <progress value={done} max={1} aria-label="Progress" /> {percent} % {note ?? ''}
    </p>
  );
}

function JobFacts({ view: { job, letter } }: ViewProps) {
  const { tenantId, jobType, group, attempt, maxAttempts, cancelRequested } = job;
  const alike = letter?.fingerprint ?? null;
  return (
    <Facts
      of={[
        ['State', <StateBadge state={job.state} />],
        ['Tenant', <a href={address('/jobs', { tenant: tenantId })}>{tenantId}</a>],
        ['Type', <a href={address('/jobs', { type: jobType })}>{jobType}</a>],
        ['Group', group],
        ['Attempt', `${attempt} of ${maxAttempts}`],
        ['Priority', String(job.priority)],
        ['Created', <Time at={job.createdAt} />],
        ['Scheduled for', <Time at={job.scheduledFor} />],
        ['Finished', job.finishedAt === null ? null : <Time at={job.finishedAt} />],
        ['Dedup key', job.dedupKey],
        ['Ended', letter?.endedBy],
        [
          'Failed alike',
          alike === null || letter === undefined ? null : (
            <a href={address('/dead-letters', { fingerprint: alike })}>
              {countText(letter.alike, maxCounted)}{' '}
              {letter.alike === 1 ? 'dead letter' : 'dead letters'}
            </a>
          ),
        ],
        [
          'Cancellation',
          cancelRequested === null
            ? null
            : `asked by ${cancelRequested.by}: ${cancelRequested.reason}`,
        ],
      ]}
    />
  );
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

function LastError({ view: { job } }: ViewProps) {
  if (job.error === null) return null;
  return (
    <p class="notice bad">
      <strong>{textOf(job.error['code'])}</strong>: {textOf(job.error['message'])}
    </p>
  );
}

const shownCharacters = 100_000;

/** JSON, cut where a browser would labour with it. */
function Value({ label, value, jobId }: { label: string; value: unknown; jobId: string }) {
  if (value === null || value === undefined) return <p class="quiet">No {label}.</p>;
  const text = JSON.stringify(value, null, 2);
  return (
    <details open={text.length < 2_000}>
      <summary>
        {label} ({text.length.toLocaleString('en-US')} characters)
      </summary>
      <pre>{text.slice(0, shownCharacters)}</pre>
      {text.length > shownCharacters ? (
        <p class="quiet">
          Cut here. All of it: <code>purser jobs show {jobId}</code>
        </p>
      ) : null}
    </details>
  );
}

function Values({ access, view: { job } }: ViewProps & Pick<JobPageProps, 'access'>) {
  if (!hasRole(access.role, 'operator')) {
    return <p class="quiet">Payload and result are shown to operators.</p>;
  }
  return (
    <>
      <Value label="payload" value={job.payload} jobId={job.jobId} />
      <Value label="result" value={job.result} jobId={job.jobId} />
    </>
  );
}

function Chain({ view: { chain } }: ViewProps) {
  if (chain.length < 2) return null;
  return (
    <>
      <h2>Replays</h2>
      <Table
        label="Replays"
        caption="The first job and every replay, oldest first."
        columns={jobColumns}
        rows={chain}
        empty=""
      />
    </>
  );
}

/** A command at its end is set as one. */
function Sentence({ text }: { readonly text: string }) {
  const [, says, command] = /^(.*: )(purser .*)$/.exec(text) ?? [];
  if (command === undefined) return <>{text}</>;
  return (
    <>
      {says}
      <code>{command}</code>
    </>
  );
}

export function JobPage({ access, path, view, done }: JobPageProps) {
  const { job, causes, letter } = view;
  const isOpen = !terminalStates.includes(job.state);
  return (
    <Page title={`Job ${job.jobId}`} access={access} path={path}>
      {done === undefined ? null : <Notice tone="good">{outcomeTexts[done]}</Notice>}
      <Live id="job">
        <JobFacts view={view} />
        <Progress view={view} />
        <LastError view={view} />
        <h2>{isOpen ? 'Why it is here' : 'How it ended'}</h2>
        <Causes causes={causes} />
      </Live>
      <Acts access={access} job={job} letter={letter} />
      {letter === undefined ? null : (
        <>
          <h2>What to do</h2>
          <ul>
            {letter.advice.map((sentence) => (
              <li>
                <Sentence text={sentence} />
              </li>
            ))}
          </ul>
        </>
      )}
      <h2>Payload and result</h2>
      <Values access={access} view={view} />
      <Live id="history">
        <h2>Attempts</h2>
        <Attempts attempts={view.attempts} />
        <h2>LLM calls</h2>
        <Calls calls={view.calls} />
        <Chain view={view} />
        <h2>Log</h2>
        <LogLines job={job} />
        <h2>History</h2>
        <Events job={job} />
      </Live>
    </Page>
  );
}
