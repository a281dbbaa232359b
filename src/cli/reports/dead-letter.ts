/** A dead letter as `purser dlq show` prints it. */
import type { DeadLetterRecord } from '../../operations/failures/dead-letter.ts';
import { formatTable } from '../terminal/table.ts';
import { fieldLines } from './field-lines.ts';
import { countText } from './search-options.ts';

function head(letter: DeadLetterRecord): string {
  const { job, standing, endedBy, fingerprint, alike } = letter;
  return fieldLines([
    ['job', job.jobId],
    ['tenant', job.tenantId],
    ['type', job.jobType],
    ...(job.group === null ? [] : ([['group', job.group]] as const)),
    ['state', `dead_letter, ${standing} ${JSON.stringify(job.stateDetail)}`],
    ['ended', `${endedBy ?? '-'} after ${job.attempt} of ${job.maxAttempts} attempts`],
    ['finished', job.finishedAt?.toISOString() ?? '-'],
    ['fingerprint', `${fingerprint ?? '-'} (${countText(alike)} listed)`],
    ['payload', JSON.stringify(job.payload)],
  ]);
}

function attempts({ attempts: ended, costs }: DeadLetterRecord): string {
  return formatTable(
    [
      'attempt',
      'started',
      'ended',
      'state after',
      'code',
      'message',
      'calls',
      'spent USD',
      'held USD',
      'unknown USD',
    ],
    ended.map(({ attempt, startedAt, endedAt, toState, errorCode, error }, index) => {
      // An attempt that was not counted has the number of the next one: what it cost stands with the last of them.
      const isLast = ended.findLastIndex((other) => other.attempt === attempt) === index;
      const cost = isLast ? costs.find((each) => each.attempt === attempt) : undefined;
      return [
        attempt,
        startedAt,
        endedAt,
        toState,
        errorCode,
        error?.message,
        cost?.calls,
        cost?.spentUsd,
        cost?.reservedUsd,
        cost?.unknownUsd,
      ];
    }),
    120,
  );
}

/** Of the last attempt that has one. */
function stack({ attempts: ended }: DeadLetterRecord): string {
  const last = ended.findLast(({ error }) => error?.stack !== undefined);
  if (last?.error?.stack === undefined) return '';
  return fieldLines([[`stack of ${last.attempt}`, last.error.stack]]);
}

function chain({ chain: jobs }: DeadLetterRecord): string {
  if (jobs.length < 2) return '';
  return formatTable(
    ['replays', 'state', 'attempt', 'created', 'finished', 'error'],
    jobs.map((job) => [
      job.jobId,
      job.state,
      `${job.attempt}/${job.maxAttempts}`,
      job.createdAt,
      job.finishedAt,
      job.errorCode,
    ]),
  );
}

export function deadLetterPage(letter: DeadLetterRecord): string {
  const parts = [
    head(letter),
    attempts(letter),
    stack(letter),
    chain(letter),
    letter.advice.join('\n'),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}
