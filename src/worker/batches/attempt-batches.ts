/**
 * Begins and finishes attempts, many in one statement. A statement whose answer was lost is repeated under the same
 * tokens; an end that cannot be stored is replaced by one that says why, and counts.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Queryable, Sql } from '../../db/connect.ts';
import { codeOf, messageOf, PurserError } from '../../errors.ts';
import {
  beginAttempts,
  finishAttempts,
  finishUnlockedAttempts,
  isPlainCompletion,
} from '../../jobs/attempts.ts';
import type {
  AttemptEnd,
  BeginRequest,
  BegunAttempt,
  FinishRequest,
  FinishResult,
} from '../../jobs/attempts.ts';
import { isRunTime } from '../../jobs/request.ts';
import type { Logger } from '../../log.ts';
import { endDuringOutage } from './outage-end.ts';
import { failureOf } from './failure.ts';
import { createPipe } from './pipe.ts';
import { storableText } from '../store-value.ts';

export interface BatchOptions {
  readonly sql: Sql;
  readonly workerId: string;
  readonly leaseMs: number;
  readonly log: Logger;
  /** Default 1,000. */
  readonly maxBatch?: number;
  /** How long a caller waits while the database is away. Default 30,000. */
  readonly giveUpMs?: number;
  /** A statement without an answer for so long is repeated on another connection. Default 10,000. */
  readonly answerWithinMs?: number;
}

export interface AttemptBatches {
  /** undefined: the entry is stale. Throws when the database stays unavailable, or refuses this request. */
  begin(request: BeginRequest): Promise<BegunAttempt | undefined>;
  /** Throws when the database stays unavailable. `bytes`: of its end, where the caller has counted them. */
  finish(request: FinishRequest, bytes?: number): Promise<FinishResult>;
}

interface MeasuredFinish extends FinishRequest {
  readonly bytes: number;
}

/** Of results in one statement: each may have a megabyte. */
const maxBytes = 4 * 1024 * 1024;

export function createBatches(options: BatchOptions): AttemptBatches {
  const { sql, workerId, leaseMs, log } = options;
  const { maxBatch = 1_000, giveUpMs = 30_000, answerWithinMs = 10_000 } = options;
  const common = { log, giveUpMs, answerWithinMs };
  const limits = { max: maxBatch, maxBytes };
  const finishPipe = (send: typeof finishUnlockedAttempts) =>
    createPipe<MeasuredFinish, FinishResult | 'locked'>({
      ...common,
      name: 'finish',
      // Of an end that was replaced too, which is sent by itself.
      limits: { ...limits, bytesOf: ({ bytes }) => bytes },
      send: async (requests) => {
        const answers = await send(sql, requests);
        return ({ jobId }) => answers.get(jobId) ?? 'stale';
      },
      replace: (request, error, refusals) => {
        if (!isAboutData(error)) return undefined;
        const { jobId, end } = request;
        log.error({ jobId, error, state: end.toState }, 'end_not_stored');
        const again = refusals === 1 && !runsAgainUncounted(end);
        if (again) return { ...request, end: withoutValues(end, error) };
        return refusals <= 2 ? { ...request, end: notStored(error) } : undefined;
      },
      afterOutage: (request) => ({ ...request, end: endDuringOutage(request.end) }),
    });
  // Statements of their own: a refused one is sent again without those of the other kind.
  const [completions, otherEnds] = [finishPipe(finishMost), finishPipe(finishMost)];
  const lockedEnds = finishPipe(finishUnlockedAttempts);
  const finishWhenUnlocked = async (request: MeasuredFinish): Promise<FinishResult> => {
    const giveUpAtMs = performance.now() + giveUpMs;
    for (;;) {
      await sleep(lockedRetryMs);
      const answer = await lockedEnds(request);
      if (answer !== 'locked') return answer;
      if (performance.now() > giveUpAtMs) {
        throw new PurserError(
          'lock_held',
          `another transaction holds the attempt of job ${request.jobId}: its end is not stored`,
        );
      }
    }
  };
  return {
    begin: createPipe<BeginRequest, BegunAttempt | undefined>({
      ...common,
      name: 'begin',
      limits: { ...limits, bytesOf: () => 0 },
      send: async (requests) => {
        const begun = await beginAttempts(sql, requests, workerId, leaseMs);
        const byToken = new Map(begun.map((attempt) => [attempt.token, attempt]));
        return ({ token }) => byToken.get(token);
      },
      replace: () => undefined,
    }),
    finish: async (given, bytes = bytesOfEnd(given.end)) => {
      const request = { ...given, bytes };
      const answer = await (isPlainCompletion(request) ? completions : otherEnds)(request);
      return answer === 'locked' ? finishWhenUnlocked(request) : answer;
    },
  };
}

/** Between two tries to end an attempt that another transaction has locked: of its handler, as a rule. */
const lockedRetryMs = 100;

/** A locked attempt makes the others wait once, and for a short time. */
async function finishMost(
  sql: Queryable,
  requests: readonly FinishRequest[],
): Promise<Map<string, FinishResult | 'locked'>> {
  try {
    return await finishAttempts(sql, requests);
  } catch (error) {
    if (failureOf(error) !== 'locked') throw error;
    return finishUnlockedAttempts(sql, requests);
  }
}

/** Characters of the values that a handler chose. The other parts of an end are cut when it is made. */
export const bytesOfEnd = ({ result, error }: AttemptEnd): number =>
  bytesOf(result) + bytesOf(error?.details);

/** A value without JSON is refused when it is sent. */
function bytesOf(value: unknown): number {
  if (typeof value === 'string') return value.length;
  if (value === null || typeof value !== 'object') return 0;
  try {
    return JSON.stringify(value).length;
  } catch {
    return 0;
  }
}

/** SQLSTATE classes of values that a row cannot hold, and errors of values that have no JSON. */
function isAboutData(error: unknown): boolean {
  const code = codeOf(error);
  return /^(22|23|54)\w{3}$/.test(code) || code === 'error' || code.startsWith('ERR_');
}

/** Such an end would be refused after every attempt of its job, without limit. */
const runsAgainUncounted = ({ toState, countsAttempt }: AttemptEnd): boolean =>
  !countsAttempt && (toState === 'pending' || toState === 'parked');

const reasonOf = (error: unknown): string =>
  storableText(`not stored (${codeOf(error)}): ${messageOf(error)}`, 1_000);

/** The same end, with every value that the handler chose replaced by the reason. */
function withoutValues(end: AttemptEnd, error: unknown): AttemptEnd {
  const reason = reasonOf(error);
  const { toState, countsAttempt, suspect, lost, neededUsd, afterMs, until } = end;
  return {
    toState,
    countsAttempt,
    detail: { reason },
    ...(toState === 'completed' ? { result: { purser: 'result not stored', reason } } : {}),
    ...(end.error === undefined
      ? {}
      : { error: { code: storableText(end.error.code, 100), message: reason } }),
    ...(afterMs === undefined ? {} : { afterMs: Math.min(afterMs, maxAfterMs) }),
    ...(isRunTime(until) ? { until } : {}),
    ...(neededUsd === undefined ? {} : { neededUsd }),
    ...(suspect === undefined ? {} : { suspect }),
    ...(lost === undefined ? {} : { lost }),
  };
}

/** A year. */
const maxAfterMs = 365 * 86_400_000;

/** Even without the handler's values the end could not be stored, or the attempt would not count. */
const notStored = (error: unknown): AttemptEnd => ({
  toState: 'dead_letter',
  countsAttempt: true,
  error: { code: 'end_not_stored', message: `the attempt's end was ${reasonOf(error)}` },
  detail: { reason: 'end not stored' },
});
