/** `purser jobs list|show|cancel`. */
import { setTimeout as sleep } from 'node:timers/promises';
import { costOfJob } from '../../budget/report/job-cost.ts';
import type { Sql } from '../../db/connect.ts';
import { exitCodes, PurserError, UsageError } from '../../errors.ts';
import type { CancelAnswer } from '../../jobs/cancel.ts';
import { findJob } from '../../jobs/inspect.ts';
import { countJobs, listJobs } from '../../jobs/search/list.ts';
import { jobStates } from '../../jobs/states.ts';
import type { JobState } from '../../jobs/states.ts';
import { isJobId, maxJobId } from '../../job-id.ts';
import type { Operator } from '../../operations/audit.ts';
import { cancelAs } from '../../operations/cancel.ts';
import { why } from '../../operations/why/why.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { notePart, searchOf, searchOptions } from '../reports/search-options.ts';
import { jobColumns } from '../reports/list-columns.ts';
import { jobPage } from '../reports/job-details.ts';
import { filterOptions, isFiltered, runFiltered, startOptions } from './dlq/filtered.ts';
import { byOption, reasonOption, reasonedActOf } from '../terminal/operator-options.ts';
import { limitOf, limitOption } from '../terminal/cut-list.ts';
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
  const state = stateOf(invocation.value('state'));
  const [jobId, replaysOf] = ['id', 'replays-of'].map((option) => {
    const id = invocation.value(option);
    return id === undefined ? undefined : checkJobId(id);
  });
  const limit = limitOf(invocation);
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    const dedupKey = invocation.value('dedup-key');
    const filter = { ...(await searchOf(invocation, sql)), state, jobId, dedupKey, replaysOf };
    const jobs = await listJobs(sql, { ...filter, limit });
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
    const count = jobs.length === limit ? await countJobs(sql, filter) : jobs.length;
    notePart(invocation, jobs.length, count, 'jobs');
    return exitCodes.ok;
  });
}

function stateOf(text: string | undefined): JobState | undefined {
  const state = jobStates.find((known) => known === text);
  if (text === undefined || state !== undefined) return state;
  throw new UsageError(`--state ${text}: use one of ${jobStates.join(', ')}`);
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
    const { causes } = await why(database.system, { jobId });
    const cost = await costOfJob(database.system, jobId);
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify({ ...job, why: causes, cost })
        : jobPage(job, { causes, cost }),
    );
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
  operator: Operator,
  request: { readonly jobId: string; readonly reason: string },
  waitMs: number,
): Promise<CancelAnswer> {
  const deadline = performance.now() + waitMs;
  let answer = await cancelAs(sql, operator, request);
  if (answer.outcome !== 'requested') return answer;
  while (answer.outcome === 'requested' && performance.now() < deadline) {
    await sleep(pollMs);
    answer = await cancelAs(sql, operator, request);
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
  if (isFiltered(invocation)) return runFiltered(invocation, 'cancel');
  const jobId = checkJobId(invocation.positionals[0] ?? '');
  const { operator, reason } = reasonedActOf(invocation);
  const waitSeconds = wholeNumber(invocation, 'wait', 15, { min: 0, max: 86_400 });
  return withDatabase(invocation.config(), async ({ database }) => {
    const request = { jobId, reason };
    const answer = await cancelWithin(database.system, operator, request, waitSeconds * 1_000);
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
      ...searchOptions,
      state: { value: 'STATE', help: 'only jobs in this state' },
      id: { value: 'ID', help: 'only this job' },
      'dedup-key': { value: 'KEY', help: 'only jobs that were enqueued with this key' },
      'replays-of': { value: 'ID', help: 'this job, what it replays, and what replays it' },
      limit: limitOption,
      json: jsonOption,
    },
    run: list,
  },
  {
    path: 'jobs show',
    summary: 'show one job with payload, result, error, history, LLM cost, progress and log lines',
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
      'cancel a job: a waiting job never starts, a running job is stopped by its worker; exit 1 when the job was not cancelled. With a filter: all of them, after a preview',
    positionals: [{ ...idPositional, required: false }],
    options: {
      ...filterOptions,
      ...startOptions,
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
