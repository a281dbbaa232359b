/** `purser jobs list|show`. */
import { exitCodes, PurserError, UsageError } from '../errors.ts';
import { findJob, listJobs } from '../jobs/inspect.ts';
import type { JobRecord } from '../jobs/inspect.ts';
import { jobStates } from '../jobs/states.ts';
import type { Command, Invocation } from './command.ts';
import { jsonOption } from './command.ts';
import { wholeNumber } from './parse.ts';
import { formatTable } from './table.ts';
import { withDatabase } from './with-system.ts';

/** Throws a usage error unless the text is a job's number. */
export function checkJobId(text: string): string {
  if (!/^[1-9]\d{0,17}$/.test(text)) {
    throw new UsageError(`a job id is a whole number, not ${JSON.stringify(text)}`);
  }
  return text;
}

async function list(invocation: Invocation): Promise<number> {
  const state = invocation.value('state');
  if (state !== undefined && !jobStates.some((known) => known === state)) {
    throw new UsageError(`--state ${state}: use one of ${jobStates.join(', ')}`);
  }
  const limit = wholeNumber(invocation, 'limit', 50, { min: 1, max: 10_000 });
  return withDatabase(invocation.config(), async ({ database }) => {
    const jobs = await listJobs(database.system, {
      tenantId: invocation.value('tenant'),
      jobType: invocation.value('type'),
      state,
      limit,
    });
    if (invocation.flag('json')) invocation.print(JSON.stringify(jobs));
    else {
      invocation.print(
        formatTable(
          ['job', 'tenant', 'type', 'state', 'attempt', 'created', 'finished', 'error'],
          jobs.map((job) => [
            job.jobId,
            job.tenantId,
            job.jobType,
            job.state,
            `${job.attempt}/${job.maxAttempts}`,
            job.createdAt,
            job.finishedAt,
            job.errorCode,
          ]),
        ),
      );
    }
    return exitCodes.ok;
  });
}

function describe(job: JobRecord): string {
  const head: [string, string][] = [
    ['job', job.jobId],
    ['tenant', job.tenantId],
    ['type', job.jobType],
    ['state', `${job.state} ${JSON.stringify(job.stateDetail)}`],
    ['attempt', `${job.attempt} of ${job.maxAttempts}`],
    [
      'progress',
      job.progress === null
        ? '-'
        : `${Math.round(job.progress.done * 100)} % ${job.progress.note ?? ''}`.trimEnd(),
    ],
    ['scheduled for', job.scheduledFor.toISOString()],
    ['dedup key', job.dedupKey ?? '-'],
    ['replay of', job.replayOf ?? '-'],
    ['replayed by', job.replayedBy ?? '-'],
    ['payload', JSON.stringify(job.payload)],
    ['result', JSON.stringify(job.result)],
    [
      'error',
      job.error === null ? '-' : `${String(job.error['code'])}: ${String(job.error['message'])}`,
    ],
  ];
  const history = formatTable(
    ['at', 'from', 'to', 'attempt', 'detail'],
    job.events.map((event) => [
      event.at,
      event.fromState,
      event.toState,
      event.attempt,
      JSON.stringify(event.detail),
    ]),
    120,
  );
  return `${head.map(([name, text]) => `${name.padEnd(14)} ${text}`).join('\n')}\n\n${history}`;
}

async function show(invocation: Invocation): Promise<number> {
  const jobId = checkJobId(invocation.positionals[0] ?? '');
  return withDatabase(invocation.config(), async ({ database }) => {
    const job = await findJob(database.system, jobId);
    if (job === undefined) throw new PurserError('unknown_job', `there is no job ${jobId}`);
    invocation.print(invocation.flag('json') ? JSON.stringify(job) : describe(job));
    return exitCodes.ok;
  });
}

export const jobCommands: readonly Command[] = [
  {
    path: 'jobs list',
    summary: 'jobs, newest first',
    options: {
      tenant: { value: 'T', help: 'of this tenant' },
      type: { value: 'TYPE', help: 'of this job type' },
      state: { value: 'STATE', help: 'in this state' },
      limit: { value: 'N', help: 'at most N (default 50)' },
      json: jsonOption,
    },
    run: list,
  },
  {
    path: 'jobs show',
    summary: 'one job with payload, result, error and history',
    positionals: [{ name: 'ID', help: "the job's number", required: true }],
    options: { json: jsonOption },
    run: show,
  },
];
