/** `purser jobs list|show|cancel`. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from '../../db/connect.ts';
import { exitCodes, PurserError, UsageError } from '../../errors.ts';
import { requestCancel } from '../../jobs/cancel.ts';
import type { CancelAnswer, CancelRequest } from '../../jobs/cancel.ts';
import { findJob, listJobs } from '../../jobs/inspect.ts';
import { jobStates } from '../../jobs/states.ts';
import { isJobId, maxJobId } from '../../job-id.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { jobFilter, jobFilterOptions } from '../reports/job-filter.ts';
import { jobColumns } from '../reports/list-columns.ts';
import { jobPage } from '../reports/job-details.ts';
import { byOption, operatorRecord, reasonOption } from '../terminal/operator-options.ts';
import { wholeNumber } from '../terminal/parse.ts';
import { formatTable } from '../terminal/table.ts';
import { withDatabase } from '../runtime/with-database.ts';

/** Throws a usage error unless the text is a job id. */
export function checkJobId(text: string): string {
  if (!isJobId(text)) {
    throw new UsageError(
      `a job id is a whole number from 1 to ${maxJobId}, not ${JSON.stringify(text)}`,
    );
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
      ...(await jobFilter(invocation, database.system)),
      state,
      limit,
    });
    if (invocation.flag('json')) invocation.print(JSON.stringify(jobs));
    else {
      const columns = jobColumns(jobs);
      invocation.print(
        formatTable(
          [...columns.head, 'state', 'attempt', 'created', 'finished', 'error'],
          jobs.map((job) => [
            ...columns.of(job),
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

const allLines = 1_000_000;

function logLinesOf(invocation: Invocation): number {
  if (invocation.value('logs') === 'all') return allLines;
  return wholeNumber(invocation, 'logs', 50, { min: 0, max: allLines });
}

async function show(invocation: Invocation): Promise<number> {
  const jobId = checkJobId(invocation.positionals[0] ?? '');
  const logLines = logLinesOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const job = await findJob(database.system, jobId, logLines);
    if (job === undefined) throw new PurserError('unknown_job', `there is no job ${jobId}`);
    invocation.print(invocation.flag('json') ? JSON.stringify(job) : jobPage(job));
    return exitCodes.ok;
  });
}

const pollMs = 200;

/**
 * Repeats the request until the job has ended, for at most `waitMs`. A job that returned to waiting meanwhile,
 * because its worker crashed or stopped, is cancelled there.
 */
async function cancelWithin(
  sql: Sql,
  request: CancelRequest & { jobId: string },
  waitMs: number,
): Promise<CancelAnswer> {
  const deadline = performance.now() + waitMs;
  let answer = await requestCancel(sql, request);
  if (answer.outcome !== 'requested') return answer;
  while (answer.outcome === 'requested' && performance.now() < deadline) {
    await sleep(pollMs);
    answer = await requestCancel(sql, request);
  }
  // Its worker cancelled it.
  if (answer.state === 'cancelled') return { outcome: 'cancelled', state: 'cancelled' };
  return answer;
}

function describeAnswer(jobId: string, { outcome, state }: CancelAnswer): string {
  if (outcome === 'cancelled') return `job ${jobId} is cancelled`;
  if (outcome === 'requested') {
    return `job ${jobId} is still running; the cancel request stays until it ends: purser jobs show ${jobId}`;
  }
  return state === 'cancelled'
    ? `job ${jobId} was already cancelled`
    : `job ${jobId} was not cancelled: it ended as ${state}`;
}

async function cancel(invocation: Invocation): Promise<number> {
  const jobId = checkJobId(invocation.positionals[0] ?? '');
  const record = operatorRecord(invocation);
  const waitSeconds = wholeNumber(invocation, 'wait', 15, { min: 0, max: 86_400 });
  return withDatabase(invocation.config(), async ({ database }) => {
    const request = { jobId, ...record };
    const answer = await cancelWithin(database.system, request, waitSeconds * 1_000);
    const result = { jobId, ...answer };
    invocation.print(
      invocation.flag('json') ? JSON.stringify(result) : describeAnswer(jobId, answer),
    );
    const done =
      answer.state === 'cancelled' || (answer.outcome === 'requested' && waitSeconds === 0);
    return done ? exitCodes.ok : exitCodes.failed;
  });
}

const idPositional = { name: 'ID', help: "the job's id", required: true };

export const jobCommands: readonly Command[] = [
  {
    path: 'jobs list',
    summary: 'list jobs, newest first',
    options: {
      ...jobFilterOptions,
      state: { value: 'STATE', help: 'only jobs in this state' },
      limit: { value: 'N', help: 'at most N jobs (default 50)' },
      json: jsonOption,
    },
    run: list,
  },
  {
    path: 'jobs show',
    summary: 'show one job with payload, result, error, history, progress and log lines',
    positionals: [idPositional],
    options: {
      logs: { value: 'N', help: 'show the newest N log lines, or --logs all (default 50)' },
      json: jsonOption,
    },
    run: show,
  },
  {
    path: 'jobs cancel',
    summary:
      'cancel a job: a waiting job never starts, a running job is stopped by its worker; exit 1 when the job was not cancelled',
    positionals: [idPositional],
    options: {
      reason: reasonOption,
      by: byOption,
      wait: {
        value: 'SECONDS',
        help: 'how long to wait for a running job to stop (default 15; 0: do not wait)',
      },
      json: jsonOption,
    },
    run: cancel,
  },
];
