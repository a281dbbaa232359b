/**
 * The pipeline of one attempt: begin -> parse payload -> context and deadline -> run -> classify -> finish.
 * Every attempt that began is finished exactly once, or refused because it is no longer the running one.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '../db/database.ts';
import { tenantSql } from '../db/tenant.ts';
import { codeOf, JobTimeoutError } from '../errors.ts';
import { parsePayload } from '../handlers/define.ts';
import type { Handler, JobContext } from '../handlers/define.ts';
import type { HandlerRegistry } from '../handlers/index.ts';
import { beginAttempts, finishAttempts } from '../jobs/attempts.ts';
import type { AttemptEnd, BegunAttempt, FinishResult } from '../jobs/attempts.ts';
import { enqueueChild } from '../jobs/enqueue.ts';
import type { LlmDoor } from '../llm/create-llm.ts';
import { llmOver } from '../llm/llm-over.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Entry } from '../queues/backend.ts';
import type { Backoff } from './backoff.ts';
import { endOfReturn, endOfThrow } from './classify.ts';
import { runHandler } from './run-handler.ts';
import type { RunningJobs } from './running-jobs.ts';
import { storableText } from './store-value.ts';

export interface ExecuteOptions {
  readonly database: Database;
  readonly registry: HandlerRegistry;
  readonly llm: LlmDoor;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly workerId: string;
  readonly leaseMs: number;
  /** How long a handler may take to return after its signal aborted. */
  readonly graceMs: number;
  readonly backoff: Backoff;
  readonly running: RunningJobs;
}

export interface Execution {
  /** undefined: the entry was stale and nothing began. */
  readonly end: AttemptEnd | undefined;
  readonly finish: FinishResult | undefined;
}

/** Takes one queue entry from begin to finish. Throws only when the database stays away. */
export async function executeEntry(options: ExecuteOptions, entry: Entry): Promise<Execution> {
  const { database, running, log } = options;
  const token = randomUUID();
  const controller = new AbortController();
  const begun = running.enter();
  let attempt: BegunAttempt | undefined;
  const askedAtMs = performance.now();
  try {
    [attempt] = await beginAttempts(
      database.system,
      [{ jobId: entry.jobId, dispatchNo: entry.dispatchNo, token }],
      options.workerId,
      options.leaseMs,
    );
    if (attempt !== undefined) {
      const leasedUntilMs = askedAtMs + options.leaseMs;
      running.add({ jobId: attempt.jobId, token, controller, leasedUntilMs });
    }
  } finally {
    begun();
  }
  if (attempt === undefined) {
    log.debug({ jobId: entry.jobId, dispatchNo: entry.dispatchNo }, 'stale_entry');
    return { end: undefined, finish: undefined };
  }
  const startedAt = performance.now();
  try {
    const end = await endOfAttempt(options, attempt, controller);
    const finish = await finishAttempt(options, attempt, end);
    report(options, attempt, end, finish, (performance.now() - startedAt) / 1000);
    return { end, finish };
  } finally {
    running.remove(token);
  }
}

async function endOfAttempt(
  options: ExecuteOptions,
  attempt: BegunAttempt,
  controller: AbortController,
): Promise<AttemptEnd> {
  const handler = options.registry.get(attempt.jobType);
  if (handler === undefined) throw new Error(`worker has no handler for ${attempt.jobType}`);
  const facts = () => ({ attempt, handler, now: new Date(), backoff: options.backoff });
  try {
    const work = async (): Promise<unknown> => {
      const payload = await parsePayload(handler, attempt.payload);
      return handler.run(makeContext(options, attempt, handler, payload, controller.signal));
    };
    const returned = await runHandler({ handler, work, controller, graceMs: options.graceMs });
    return endOfReturn(returned, facts());
  } catch (error) {
    if (error instanceof JobTimeoutError) {
      options.metrics.jobTimeouts.inc({ job_type: attempt.jobType });
    }
    if (codeOf(error) === 'PU001') options.metrics.rlsEnforcementFailed.inc();
    return endOfThrow(error, facts());
  }
}

function makeContext(
  options: ExecuteOptions,
  attempt: BegunAttempt,
  handler: Handler,
  payload: unknown,
  signal: AbortSignal,
): JobContext<unknown> {
  const { jobId, tenantId, token } = attempt;
  const log = options.log.child({ jobId, tenantId, jobType: attempt.jobType });
  const sql = tenantSql(options.database.tenant, {
    token,
    signal,
    deadlineMs: Date.now() + handler.timeoutMs,
  });
  return {
    jobId,
    tenantId,
    payload,
    attempt: attempt.attempt,
    token,
    signal,
    sql,
    llm: llmOver(
      options.llm.forAttempt({ tenantId, jobId, attempt: attempt.attempt, token, signal, log })
        .call,
      options.llm.judged,
    ),
    enqueue: (jobType, childPayload = {}, child = {}) =>
      enqueueChild(sql, { jobType, payload: childPayload, ...child }),
    progress: (done, note) => {
      const fraction = Number.isFinite(done) ? Math.min(1, Math.max(0, done)) : 0;
      options.running.report(token, {
        done: fraction,
        note: note === undefined ? null : storableText(note, 500),
      });
    },
    log,
  };
}

/** Finishes through short outages of the database, for as long as the lease may still be ours. */
async function finishAttempt(
  options: ExecuteOptions,
  attempt: BegunAttempt,
  end: AttemptEnd,
): Promise<FinishResult> {
  const request = { jobId: attempt.jobId, token: attempt.token, end };
  for (let tries = 1; ; tries += 1) {
    try {
      const results = await finishAttempts(options.database.system, [request]);
      return results.get(attempt.jobId) ?? 'stale';
    } catch (error) {
      options.log.warn({ jobId: attempt.jobId, tries, error }, 'finish_failed');
      if (tries >= 10) throw error;
      await sleep(Math.min(5_000, 200 * 2 ** tries));
    }
  }
}

function report(
  options: ExecuteOptions,
  attempt: BegunAttempt,
  end: AttemptEnd,
  finish: FinishResult,
  seconds: number,
): void {
  const { metrics, log } = options;
  metrics.jobSeconds.observe({ job_type: attempt.jobType }, seconds);
  if (finish === 'applied') metrics.attempts.inc({ job_type: attempt.jobType, end: end.toState });
  if (finish === 'stale') metrics.staleTokens.inc();
  const level = end.toState === 'dead_letter' ? 'error' : end.error === undefined ? 'info' : 'warn';
  log[level](
    {
      jobId: attempt.jobId,
      tenantId: attempt.tenantId,
      jobType: attempt.jobType,
      attempt: attempt.attempt,
      state: end.toState,
      finish,
      seconds: Number(seconds.toFixed(3)),
      ...(end.error === undefined ? {} : { code: end.error.code, reason: end.error.message }),
    },
    'job_attempt_ended',
  );
}
