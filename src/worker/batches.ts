/**
 * Begins and ends of this worker's attempts, many in one statement. An answer that was lost is asked for again
 * under the same tokens; an end that cannot be stored as it is, is stored with a note that says why.
 */
import type { Sql } from '../db/connect.ts';
import { codeOf, messageOf } from '../errors.ts';
import { beginAttempts, finishAttempts } from '../jobs/attempts.ts';
import type {
  AttemptEnd,
  BeginRequest,
  BegunAttempt,
  FinishRequest,
  FinishResult,
} from '../jobs/attempts.ts';
import type { Logger } from '../log.ts';
import { createPipe } from './batch-pipe.ts';
import { storableText } from './store-value.ts';

export interface BatchOptions {
  readonly sql: Sql;
  readonly workerId: string;
  readonly leaseMs: number;
  readonly log: Logger;
  /** Default 64. */
  readonly maxBatch?: number;
  /** How long a caller waits while the database is away. Default 30,000. */
  readonly giveUpMs?: number;
  /** After so long without an answer a statement is repeated on another connection. Default 10,000. */
  readonly answerWithinMs?: number;
}

export interface AttemptBatches {
  /** undefined: the entry is stale. Throws when the database stays away, or refuses this request. */
  begin(request: BeginRequest): Promise<BegunAttempt | undefined>;
  /** Throws when the database stays away. */
  finish(request: FinishRequest): Promise<FinishResult>;
}

export function createBatches(options: BatchOptions): AttemptBatches {
  const { sql, workerId, leaseMs, log } = options;
  const { maxBatch = 64, giveUpMs = 30_000, answerWithinMs = 10_000 } = options;
  const common = { log, maxBatch, giveUpMs, answerWithinMs };
  return {
    begin: createPipe<BeginRequest, BegunAttempt | undefined>({
      ...common,
      name: 'begin',
      send: async (requests) => {
        const begun = await beginAttempts(sql, requests, workerId, leaseMs);
        const byToken = new Map(begun.map((attempt) => [attempt.token, attempt]));
        return ({ token }) => byToken.get(token);
      },
      replace: () => undefined,
    }),
    finish: createPipe<FinishRequest, FinishResult>({
      ...common,
      name: 'finish',
      send: async (requests) => {
        const answers = await finishAttempts(sql, requests);
        return ({ jobId }) => answers.get(jobId) ?? 'stale';
      },
      replace: (request, error, times) => {
        if (!isAboutData(error)) return undefined;
        const { jobId, end } = request;
        log.error({ jobId, error, state: end.toState }, 'end_not_stored');
        if (times === 1) return { ...request, end: withNote(end, error) };
        return times === 2 ? { ...request, end: setAside(error) } : undefined;
      },
    }),
  };
}

/** SQLSTATE classes of values that a row cannot take; and what could not even be written as JSON. */
function isAboutData(error: unknown): boolean {
  const code = codeOf(error);
  return /^(22|23|54)\w{3}$/.test(code) || code === 'error' || code.startsWith('ERR_');
}

const reasonOf = (error: unknown): string =>
  storableText(`not stored as it was (${codeOf(error)}): ${messageOf(error)}`, 1_000);

/** The same end, with all that a handler had a say in replaced. */
function withNote(end: AttemptEnd, error: unknown): AttemptEnd {
  const reason = reasonOf(error);
  const { toState, countsAttempt, suspect, lost, neededUsd, scheduledFor } = end;
  const isTime = scheduledFor !== undefined && Math.abs(scheduledFor.getTime()) < maxTimeMs;
  return {
    toState,
    countsAttempt,
    detail: { reason },
    ...(toState === 'completed' ? { result: { purser: 'result not stored', reason } } : {}),
    ...(end.error === undefined
      ? {}
      : { error: { code: storableText(end.error.code, 100), message: reason } }),
    ...(isTime ? { scheduledFor } : {}),
    ...(neededUsd === undefined ? {} : { neededUsd }),
    ...(suspect === undefined ? {} : { suspect }),
    ...(lost === undefined ? {} : { lost }),
  };
}

/** The year 9999. */
const maxTimeMs = Date.UTC(10_000, 0);

/** An end of which nothing could be kept. */
const setAside = (error: unknown): AttemptEnd => ({
  toState: 'dead_letter',
  countsAttempt: true,
  error: { code: 'end_not_stored', message: `the attempt's end was ${reasonOf(error)}` },
  detail: { reason: 'end not stored' },
});
