/** A job as `purser jobs show` prints it: fields, history, and the newest log lines of its handler. */
import type { JobRecord } from '../../jobs/inspect.ts';
import { pauseTitle } from './pauses.ts';
import { formatTable } from '../terminal/table.ts';

function fields(job: JobRecord): [string, string][] {
  const { progress, error, cancelRequested } = job;
  return [
    ['job', job.jobId],
    ['tenant', job.tenantId],
    ['type', job.jobType],
    ...(job.group === null ? [] : [['group', job.group] as [string, string]]),
    ['state', `${job.state} ${JSON.stringify(job.stateDetail)}`],
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

const fieldColumn = 15;
const nextLine = `\n${' '.repeat(fieldColumn)}`;

export function jobPage(job: JobRecord): string {
  // Lines of a text stay in its column, so that text from a handler cannot look like another field.
  const head = fields(job).map(
    ([name, text]) => `${name.padEnd(fieldColumn)}${text.replaceAll('\n', nextLine)}`,
  );
  return [head.join('\n'), history(job), logs(job).join('\n')]
    .filter((part) => part !== '')
    .join('\n\n');
}
