/**
 * Begin and finish of attempts. Begin is a compare-and-set on queue entry and token; finish requires the
 * attempt's token and may be repeated. Both take many jobs and answer for each.
 */
import { randomBytes } from 'node:crypto';
import type { Queryable } from '../db/connect.ts';
import { causeOf } from './failures/fingerprint.ts';
import type { JobState } from './states.ts';

export interface BeginRequest {
  readonly jobId: string;
  /** The queue entry that the job was dispatched with. */
  readonly entryId: string;
  /** The attempt's fencing token, from `newToken`. */
  readonly token: string;
  /** The attempt stays begun through a crash of Postgres. Default false: see docs/architecture.md. */
  readonly isDurable?: boolean;
}

export interface BegunAttempt {
  readonly jobId: string;
  readonly tenantId: string;
  readonly jobType: string;
  /** JSON text: only the executor that runs the attempt reads it. */
  readonly payload: string;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly token: string;
  /** The job is a suspect: it runs in a process of its own. */
  readonly isolated: boolean;
  /** Crashes of that process since the last attempt that ended without one. */
  readonly isolatedCrashes: number;
}

const randomBytesOfToken = 8;
/** Drawn for many tokens at once: a call costs more than its bytes. */
const random = { bytes: Buffer.alloc(0), used: 0 };

function randomHex(): string {
  if (random.used === random.bytes.length) {
    random.bytes = randomBytes(512 * randomBytesOfToken);
    random.used = 0;
  }
  const hex = random.bytes.toString('hex', random.used, random.used + randomBytesOfToken);
  random.used += randomBytesOfToken;
  return hex;
}

/** A fencing token for an attempt of this job: a UUID of the job's id and 64 random bits. */
export function newToken(jobId: string): string {
  const id = BigInt(jobId).toString(16).padStart(16, '0');
  const hex = randomHex();
  return `${id.slice(0, 8)}-${id.slice(8, 12)}-${id.slice(12)}-${hex.slice(0, 4)}-${hex.slice(4)}`;
}

/** Ids are decimal numbers without leading zeros. */
function byJobId(a: { readonly jobId: string }, b: { readonly jobId: string }): number {
  if (a.jobId.length !== b.jobId.length) return a.jobId.length - b.jobId.length;
  return a.jobId < b.jobId ? -1 : Number(a.jobId > b.jobId);
}

/** Of payloads in one answer: each may have a megabyte. */
const maxAnswerBytes = 4 * 1024 * 1024;

/**
 * Starts attempts and leases them to `workerId` for `leaseMs`. Stale requests (job dispatched again, cancelled or
 * ended) are missing from the answer. A repeated request, after a lost answer, returns the attempt that it started.
 * Jobs whose payloads do not fit into the answer of a statement begin in the next one.
 */
export async function beginAttempts(
  sql: Queryable,
  requests: readonly BeginRequest[],
  workerId: string,
  leaseMs: number,
): Promise<BegunAttempt[]> {
  const begun: BegunAttempt[] = [];
  for (let left = requests.toSorted(byJobId); left.length > 0;) {
    const rows = await beginSome(sql, left, workerId, leaseMs);
    begun.push(...rows.filter((row): row is BegunAttempt => row.payload !== null));
    const postponed = new Set(rows.filter((row) => row.payload === null).map(({ token }) => token));
    left = left.filter(({ token }) => postponed.has(token));
  }
  return begun;
}

/** A job whose payload did not fit into the answer. */
interface Postponed {
  readonly payload: null;
  readonly token: string;
}

async function beginSome(
  sql: Queryable,
  requests: readonly BeginRequest[],
  workerId: string,
  leaseMs: number,
): Promise<(BegunAttempt | Postponed)[]> {
  const isDurable = requests.some((request) => request.isDurable === true);
  return sql<(BegunAttempt | Postponed)[]>`
    select job_id as "jobId", tenant_id as "tenantId", job_type as "jobType", payload, attempt,
      max_attempts as "maxAttempts", token, suspect as isolated, losses_alone as "isolatedCrashes"
    from purser.begin_attempts(
      ${requests.map(({ jobId }) => jobId)}::bigint[], ${requests.map(({ entryId }) => entryId)}::uuid[],
      ${requests.map(({ token }) => token)}::uuid[], ${workerId}, ${leaseMs} * interval '1 millisecond',
      ${maxAnswerBytes}, ${!isDurable})`;
}

export interface JobFault {
  readonly code: string;
  readonly message: string;
  readonly stack?: string;
  /** JSON. */
  readonly details?: unknown;
}

/** Crashes of a shared thread or process after which each job that ran there is a suspect. */
export const sharedCrashesOfSuspect = 2;

/** What the end of an attempt writes into the job's row. */
export interface AttemptEnd {
  readonly toState: Exclude<JobState, 'queued' | 'running'>;
  /** JSON; only for completed. */
  readonly result?: unknown;
  readonly error?: JobFault;
  /**
   * Earliest time of the next attempt (failed, pending), in milliseconds from when the end is stored: only the database's
   * clock decides what is due. Code of a handler can replace the clock of its thread.
   */
  readonly afterMs?: number;
  /** Only for parked: when it runs at the latest. Default: the start of the next UTC month, by the database's clock. */
  readonly until?: Date;
  /** false: returned or snoozed; the attempt is not counted. */
  readonly countsAttempt: boolean;
  readonly detail: Record<string, unknown>;
  /** Whether the next attempt runs isolated; false also resets the crash counts. Unset: unchanged. */
  readonly suspect?: boolean;
  /** Its thread or process crashed or was killed: one that other jobs shared, or one of its own. */
  readonly lost?: 'shared' | 'isolated';
  /** Decimal USD; only for parked: the refused hold. */
  readonly neededUsd?: string;
}

export interface FinishRequest {
  readonly jobId: string;
  readonly token: string;
  readonly end: AttemptEnd;
}

/** applied: by this call. repeated: by an earlier call with this token. stale: refused. */
export type FinishResult = 'applied' | 'repeated' | 'stale';

/**
 * Ends attempts. A token that is not the job's current one changes nothing and is answered `stale`. A job that would
 * run again is cancelled instead if that was requested. Rows are locked in the order of job ids. Throws 55P03 soon where
 * another transaction has locked one of them.
 */
export async function finishAttempts(
  sql: Queryable,
  requests: readonly FinishRequest[],
): Promise<Map<string, FinishResult>> {
  const results = new Map<string, FinishResult>();
  for (const [jobId, result] of await finishSorted(sql, requests, false)) {
    if (result !== 'locked') results.set(jobId, result);
  }
  return results;
}

/** The same, but leaves attempts as they are whose rows another transaction has locked: `locked`. */
export const finishUnlockedAttempts = (
  sql: Queryable,
  requests: readonly FinishRequest[],
): Promise<FinishResults> => finishSorted(sql, requests, true);

type FinishResults = Map<string, FinishResult | 'locked'>;

async function finishSorted(
  sql: Queryable,
  requests: readonly FinishRequest[],
  skipLocked: boolean,
): Promise<FinishResults> {
  const sorted = requests.toSorted(byJobId);
  const completed = sorted.filter(isPlainCompletion);
  const others = sorted.filter((request) => !isPlainCompletion(request));
  const results: FinishResults = new Map();
  if (completed.length > 0) await finishCompleted(sql, completed, skipLocked, results);
  if (others.length > 0) await finishOthers(sql, others, skipLocked, results);
  return results;
}

/** Nearly all ends: nothing is stored of it but its result. */
export const isPlainCompletion = ({ end }: FinishRequest): boolean =>
  end.toState === 'completed' &&
  end.countsAttempt &&
  end.error === undefined &&
  Object.keys(end.detail).length === 0;

async function finishCompleted(
  sql: Queryable,
  requests: readonly FinishRequest[],
  skipLocked: boolean,
  results: FinishResults,
): Promise<void> {
  const refused = await sql<{ jobId: string; result: FinishResult | 'locked' }[]>`
    select job_id as "jobId", result from purser.finish_completed(
      ${requests.map(({ jobId }) => jobId)}::bigint[], ${requests.map(({ token }) => token)}::uuid[],
      ${requests.map(({ end }) => (end.result == null ? null : JSON.stringify(end.result)))}::text[],
      ${skipLocked})`;
  for (const { jobId } of requests) results.set(jobId, 'applied');
  for (const { jobId, result } of refused) results.set(jobId, result);
}

async function finishOthers(
  sql: Queryable,
  requests: readonly FinishRequest[],
  skipLocked: boolean,
  results: FinishResults,
): Promise<void> {
  const rows = requests.map(({ jobId, token, end }) => ({
    job_id: jobId,
    token,
    to_state: end.toState,
    result: end.result ?? null,
    error: end.error ?? null,
    scheduled_for: end.until?.toISOString() ?? null,
    after_ms: end.afterMs ?? null,
    counts: end.countsAttempt,
    detail: end.detail,
    needed_usd: end.neededUsd ?? null,
    suspect: end.suspect ?? null,
    shared_loss: end.lost === 'shared' ? 1 : 0,
    isolated_loss: end.lost === 'isolated' ? 1 : 0,
    failure: end.error === undefined ? null : causeOf(end.error),
  }));
  const answered = await sql<{ jobId: string; result: FinishResult | 'locked' }[]>`
    select job_id as "jobId", result
    from purser.finish_attempts(${JSON.stringify(rows)}::text::jsonb, ${sharedCrashesOfSuspect}, ${skipLocked})`;
  for (const { jobId } of requests) results.set(jobId, 'stale');
  for (const { jobId, result } of answered) results.set(jobId, result);
}
