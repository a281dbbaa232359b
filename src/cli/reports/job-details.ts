/** A job as `purser jobs show` prints it: fields, history, and the newest log lines of its handler. */
import type { AttemptCost } from '../../budget/report/job-cost.ts';
import type { JobRecord } from '../../jobs/inspect.ts';
import { terminalStates } from '../../jobs/states.ts';
import type { Cause } from '../../operations/why/cause.ts';
import { fieldLines } from './field-lines.ts';
import { pauseTitle } from './pauses.ts';
import { formatTable } from '../terminal/table.ts';

/** Of an open job. */
function whyField({ jobId, state }: JobRecord, causes: readonly Cause[]): [string, string][] {
  const [first, ...others] = causes;
  if (first === undefined || terminalStates.includes(state)) return [];
  const more = others.length === 0 ? '' : ` (and ${others.length} more: purser why ${jobId})`;
  return [['why', `${first.code}: ${first.says}${more}`]];
}

function fields(job: JobRecord, causes: readonly Cause[]): [string, string][] {
  const { progress, error, cancelRequested } = job;
  return [
    ['job', job.jobId],
    ['tenant', job.tenantId],
    ['type', job.jobType],
    ...(job.group === null ? [] : [['group', job.group] as [string, string]]),
    ['state', `${job.state} ${JSON.stringify(job.stateDetail)}`],
    ...whyField(job, causes),
    ...job.pausedBy.map((pause): [string, string] => [
      'paused',
      `${pauseTitle(pause)}, by ${pause.by}: ${pause.reason}`,
    ]),
    ...(cancelRequested === null
      ? []
      : [
          ['cancelling', `by ${cancelRequested.by}: ${cancelRequested.reason}`] as [string, string],
        ]),
    ['attempt', `${job.attempt} of ${job.maxAttempts}`],
    [
      'progress',
      progress === null
        ? '-'
        : `${Math.round(progress.done * 100)} % ${progress.note ?? ''}`.trimEnd(),
    ],
    ['scheduled for', job.scheduledFor.toISOString()],
    ['dedup key', job.dedupKey ?? '-'],
    ['replay of', job.replayOf ?? '-'],
    ['replayed by', job.replayedBy ?? '-'],
    ['payload', JSON.stringify(job.payload)],
    ['result', JSON.stringify(job.result)],
    ['error', error === null ? '-' : `${String(error['code'])}: ${String(error['message'])}`],
  ];
}

function history({ events }: JobRecord): string {
  return formatTable(
    ['at', 'from', 'to', 'attempt', 'detail'],
    events.map((event) => [
      event.at,
      event.fromState,
      event.toState,
      event.attempt,
      JSON.stringify(event.detail),
    ]),
    120,
  );
}

/** Of a job that made an LLM call. */
function costs(cost: readonly AttemptCost[]): string {
  if (cost.length === 0) return '';
  return formatTable(
    ['attempt', 'LLM calls', 'spent USD', 'reserved USD', 'unknown USD'],
    cost.map((of) => [of.attempt, of.calls, of.spentUsd, of.reservedUsd, of.unknownUsd]),
  );
}

const maxLineWidth = 2_000;

function logs({ logs: lines }: JobRecord): string[] {
  const [first] = lines;
  if (first === undefined) return [];
  const earlier = first.lineNo - 1;
  return [
    ...(earlier === 0 ? [] : [`${earlier} earlier lines are not shown: --logs all`]),
    formatTable(
      ['at', 'attempt', 'level', 'log'],
      lines.map(({ at, attempt, level, text }) => [at, attempt, level, text]),
      maxLineWidth,
    ),
  ];
}

/** `causes`: why it does not run. `cost`: of its LLM calls, by attempt. */
export function jobPage(
  job: JobRecord,
  { causes, cost }: { readonly causes: readonly Cause[]; readonly cost: readonly AttemptCost[] },
): string {
  return [fieldLines(fields(job, causes)), history(job), costs(cost), logs(job).join('\n')]
    .filter((part) => part !== '')
    .join('\n\n');
}
