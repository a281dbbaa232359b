/** What a job has done: attempts with their errors, LLM calls, log lines and changes of state. */
import type { JobCall } from '../../../../budget/report/job-calls.ts';
import type { Attempt } from '../../../../jobs/failures/attempts.ts';
import type { JobRecord } from '../../../../jobs/inspect.ts';
import { lengthText } from '../../../../operations/why/cause.ts';
import { Time } from '../../layout.tsx';
import { Badge, StateBadge } from '../../parts/badge.tsx';
import type { Tone } from '../../parts/badge.tsx';
import { address } from '../../parts/pager.tsx';
import { Table } from '../../parts/table.tsx';
import { Usd } from '../../parts/usd.tsx';
import { shownAttempts, shownCalls, shownEvents } from './read.ts';

const maxStackLength = 20_000;

function AttemptError({ errorCode, fingerprint, error }: Attempt) {
  if (errorCode === null) return '';
  return (
    <>
      <strong>{errorCode}</strong> {error?.message ?? ''}
      {error?.stack === undefined ? null : (
        <details>
          <summary>Stack</summary>
          <pre>{error.stack.slice(0, maxStackLength)}</pre>
        </details>
      )}
      {fingerprint === null ? null : (
        <div>
          <a href={address('/failures', { fingerprint })}>Failures of this cause</a>
        </div>
      )}
    </>
  );
}

export function Attempts({ attempts }: { readonly attempts: readonly Attempt[] }) {
  return (
    <Table
      label="Attempts"
      caption={
        attempts.length < shownAttempts
          ? 'Oldest first.'
          : `The newest ${shownAttempts}, oldest first.`
      }
      rows={attempts}
      empty="No attempt has ended yet."
      columns={[
        {
          title: 'Attempt',
          isHead: true,
          cell: ({ attempt, counted }) => (counted ? String(attempt) : `${attempt} (not counted)`),
        },
        {
          title: 'Started',
          cell: ({ startedAt }) => (startedAt === null ? 'not' : <Time at={startedAt} />),
        },
        {
          title: 'Took',
          isNumber: true,
          cell: ({ startedAt, endedAt }) =>
            startedAt === null ? '' : lengthText(endedAt.getTime() - startedAt.getTime()),
        },
        { title: 'State after', cell: ({ toState }) => <StateBadge state={toState} /> },
        { title: 'Error', cell: (attempt) => <AttemptError {...attempt} /> },
        { title: 'Worker', cell: ({ workerId }) => workerId ?? '' },
      ]}
    />
  );
}

const callStates: Readonly<Record<JobCall['status'], readonly [Tone, string]>> = {
  RESERVED: ['busy', 'runs'],
  APPLIED: ['good', 'settled'],
  RELEASED: ['plain', 'released'],
  UNKNOWN: ['bad', 'unknown'],
};

function CallState({ status }: JobCall) {
  const [tone, text] = callStates[status];
  return <Badge tone={tone} text={text} />;
}

export function Calls({ calls }: { readonly calls: readonly JobCall[] }) {
  return (
    <Table
      label="LLM calls"
      caption={
        calls.length < shownCalls
          ? 'Each with what was held before it was sent, and what it cost.'
          : `The newest ${shownCalls}, each with what was held before it was sent, and what it cost.`
      }
      rows={calls}
      empty="It made no LLM call."
      columns={[
        { title: 'Held at', isHead: true, cell: ({ heldAt }) => <Time at={heldAt} /> },
        { title: 'Attempt', isNumber: true, cell: ({ attempt }) => attempt ?? '' },
        {
          title: 'Model',
          cell: ({ model, provider }) => (
            <>
              {model} <span class="quiet">{provider}</span>
            </>
          ),
        },
        { title: 'State', cell: (call) => <CallState {...call} /> },
        { title: 'Held', isNumber: true, cell: ({ heldUsd }) => <Usd usd={heldUsd} /> },
        { title: 'Cost', isNumber: true, cell: ({ spentUsd }) => <Usd usd={spentUsd} /> },
        {
          title: 'Charged, unknown',
          isNumber: true,
          cell: ({ status, unknownUsd }) => (status === 'UNKNOWN' ? <Usd usd={unknownUsd} /> : ''),
        },
        {
          title: 'Tokens in, out',
          isNumber: true,
          cell: ({ inputTokens, outputTokens }) =>
            inputTokens === null ? '' : `${inputTokens}, ${outputTokens ?? ''}`,
        },
      ]}
    />
  );
}

export function LogLines({ job: { logs, jobId } }: { readonly job: JobRecord }) {
  const earlier = (logs[0]?.lineNo ?? 1) - 1;
  return (
    <Table
      label="Log lines"
      caption={
        earlier === 0 ? undefined : (
          <>
            {earlier} earlier lines are not shown: <code>purser jobs show {jobId} --logs all</code>
          </>
        )
      }
      rows={logs}
      empty="Its handler has logged nothing."
      columns={[
        { title: 'At', cell: ({ at }) => <Time at={at} /> },
        { title: 'Attempt', isNumber: true, cell: ({ attempt }) => attempt },
        { title: 'Level', cell: ({ level }) => level },
        { title: 'Text', cell: ({ text }) => <code>{text}</code> },
      ]}
    />
  );
}

const detailText = (detail: Record<string, unknown>): string =>
  Object.keys(detail).length === 0 ? '' : JSON.stringify(detail);

export function Events({ job: { events } }: { readonly job: JobRecord }) {
  return (
    <Table
      label="History"
      caption={
        events.length < shownEvents ? 'Oldest first.' : `The newest ${shownEvents}, oldest first.`
      }
      rows={events}
      empty="Nothing has happened yet."
      columns={[
        { title: 'At', cell: ({ at }) => <Time at={at} /> },
        {
          title: 'State',
          cell: ({ fromState, toState }) => (
            <>
              {fromState === null ? '' : `${fromState.replaceAll('_', ' ')} to `}
              <StateBadge state={toState} />
            </>
          ),
        },
        { title: 'Attempt', isNumber: true, cell: ({ attempt }) => attempt },
        { title: 'Detail', cell: ({ detail }) => <code>{detailText(detail)}</code> },
      ]}
    />
  );
}
