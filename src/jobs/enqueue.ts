/**
 * Enqueueing: an insert in the caller's own transaction. A job is accepted when that transaction commits; the queue
 * store is not involved.
 */
import type { Tx } from '../db/connect.ts';
import type { TenantSql } from '../db/tenant.ts';
import { messageOf, PurserError } from '../errors.ts';

/** A postgres.js pool or transaction, or a `pg` pool or client: whatever the caller's transaction runs on. */
export type Connection =
  | { unsafe(text: string, parameters: (string | number | null)[]): PromiseLike<readonly object[]> }
  | { query(text: string, values: unknown[]): Promise<{ rows: object[] }> };

/** Runs a statement on either driver. */
export async function runOn<R extends object>(
  connection: Connection,
  text: string,
  parameters: (string | number | null)[],
): Promise<R[]> {
  const rows: readonly object[] =
    'unsafe' in connection
      ? await connection.unsafe(text, parameters)
      : (await connection.query(text, parameters)).rows;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return [...rows] as R[];
}

export interface EnqueueRequest {
  readonly tenantId: string;
  readonly jobType: string;
  readonly payload?: object;
  /** Unique per tenant and job type until the job has ended and `dedupWindowMs` from now have passed. */
  readonly dedupKey?: string | undefined;
  readonly dedupWindowMs?: number | undefined;
  /**
   * If the key is taken: `ignore` (default) returns the job that has it, `replace` gives that job the new payload,
   * time and priority if it is still waiting, `reject` throws `duplicate_job`.
   */
  readonly onDuplicate?: 'ignore' | 'replace' | 'reject' | undefined;
  readonly runAt?: Date | undefined;
  readonly priority?: number | undefined;
}

export interface Enqueued {
  readonly jobId: string;
  /** false: the job `jobId` has this dedup key already. */
  readonly created: boolean;
  /** true: that job was given this payload, time and priority. */
  readonly replaced?: boolean;
}

const defaultDedupWindowMs = 86_400_000;

/** SQLSTATEs of purser.enqueue, see sql/0003_jobs.sql. */
const codes: Readonly<Record<string, string>> = {
  PU003: 'unknown_tenant',
  PU004: 'unknown_job_type',
  PU005: 'payload_too_large',
  PU007: 'invalid_payload',
  PU008: 'duplicate_job',
  PU010: 'invalid_request',
};

function translate(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error)) return error;
  const code = codes[String(error.code)];
  if (code === undefined) return error;
  const hint = 'hint' in error && typeof error.hint === 'string' ? ` (${error.hint})` : '';
  const text = error.message.replace(`${code}: `, '');
  return new PurserError(code, `${text}${hint}`, { cause: error, details: { class: 'fatal' } });
}

/** Postgres cannot store NUL characters and lone surrogates. */
function checkText(what: string, text: unknown): void {
  // Callers in plain JavaScript have no type check.
  if (typeof text !== 'string') refuse(`${what} must be a string, not ${typeof text}`);
  if (text.includes('\u0000') || !text.isWellFormed()) {
    throw new PurserError(
      'invalid_payload',
      `${what} contains a NUL character or half of a surrogate pair, which Postgres cannot store; remove it`,
      { details: { class: 'fatal' } },
    );
  }
}

const isInexact = (value: unknown): boolean =>
  typeof value === 'number' && Math.abs(value) > Number.MAX_SAFE_INTEGER;

/** Beyond 2^53 a double is not the number that was meant, here or where the handler reads it. */
function notExact(key: string): PurserError {
  return new PurserError(
    'invalid_payload',
    `payload field ${JSON.stringify(key)} is a number beyond ${Number.MAX_SAFE_INTEGER} (2^53 - 1), which a handler ` +
      'would not get exactly; pass it as a string',
    { details: { class: 'fatal' } },
  );
}

/** JSON.stringify would silently write null. */
function notFinite(key: string): PurserError {
  return new PurserError(
    'invalid_payload',
    `payload field ${JSON.stringify(key)} is not a finite number, which JSON cannot represent; omit the field or send a string`,
    { details: { class: 'fatal' } },
  );
}

/** The payload as JSON text. Throws `invalid_payload` for what JSON or Postgres cannot hold. */
export function serialise(payload: object): string {
  try {
    return JSON.stringify(payload, (key, value: unknown) => {
      checkText('a payload key', key);
      if (typeof value === 'string') checkText(`payload field ${JSON.stringify(key)}`, value);
      if (typeof value === 'number' && !Number.isFinite(value)) throw notFinite(key);
      if (typeof value === 'bigint' || isInexact(value)) throw notExact(key);
      return value;
    });
  } catch (error) {
    if (error instanceof PurserError) throw error;
    throw new PurserError('invalid_payload', `the payload is not JSON: ${messageOf(error)}`, {
      cause: error,
      details: { class: 'fatal' },
    });
  }
}

const maxDedupKeyLength = 500;
const maxPriority = 1_000;
const maxDedupWindowMs = 10 * 365 * 86_400_000;
/** Postgres does not read years of more than four digits. */
const lastRunAt = Date.UTC(9999, 0, 1);

function refuse(fault: string): never {
  throw new PurserError('invalid_request', fault, { details: { class: 'fatal' } });
}

/** Throws `invalid_request` for values that a constraint of the table would refuse without a useful message. */
function checkRequest(request: Omit<EnqueueRequest, 'tenantId'>): void {
  const { dedupKey, dedupWindowMs = 0, priority = 0, runAt } = request;
  if (!Number.isInteger(priority) || Math.abs(priority) > maxPriority) {
    refuse(`the priority must be a whole number from -${maxPriority} to ${maxPriority}`);
  }
  if (runAt !== undefined && !(runAt instanceof Date && runAt.getTime() < lastRunAt)) {
    refuse('runAt must be a valid Date before the year 9999');
  }
  if (!(dedupWindowMs >= 0 && dedupWindowMs <= maxDedupWindowMs)) {
    refuse(`dedupWindowMs must be a number of milliseconds from 0 to ${maxDedupWindowMs}`);
  }
  if (dedupKey === undefined) return;
  checkText('the dedup key', dedupKey);
  // Code points, as Postgres counts them.
  const { length } = Array.from(dedupKey);
  if (length < 1 || length > maxDedupKeyLength) {
    refuse(`the dedup key must have 1 to ${maxDedupKeyLength} characters; it has ${length}`);
  }
}

/**
 * Enqueues one job on the caller's connection or transaction.
 * Throws `unknown_tenant`, `unknown_job_type`, `payload_too_large` (1 MiB), `invalid_payload` or
 * `invalid_request`; all of them are fatal to an attempt.
 */
export async function enqueue(connection: Connection, request: EnqueueRequest): Promise<Enqueued> {
  const payload = serialise(request.payload ?? {});
  checkText('the tenant id', request.tenantId);
  checkRequest(request);
  try {
    const [row] = await runOn<Required<Enqueued>>(
      connection,
      `select job_id::text as "jobId", created, replaced from purser.enqueue($1::text, $2::text, $3::text::jsonb,
         $4::text, $5::text::timestamptz, $6::int, $7::float8 * interval '1 millisecond', '{}', $8::text)`,
      [
        request.tenantId,
        request.jobType,
        payload,
        request.dedupKey ?? null,
        request.runAt?.toISOString() ?? null,
        request.priority ?? 0,
        request.dedupWindowMs ?? defaultDedupWindowMs,
        request.onDuplicate ?? 'ignore',
      ],
    );
    if (row === undefined) throw new Error('purser.enqueue returned no row');
    return row;
  } catch (error) {
    throw translate(error);
  }
}

const maxRequests = 10_000;

/**
 * Enqueues up to 10,000 jobs in one statement, all or nothing; answers in the order of the requests. A request whose
 * dedup key is taken, also by an earlier request, makes no job. Throws like `enqueue`, naming the request.
 */
export async function enqueueMany(
  connection: Connection,
  requests: readonly Omit<EnqueueRequest, 'dedupWindowMs' | 'onDuplicate'>[],
): Promise<Enqueued[]> {
  if (requests.length > maxRequests) {
    throw new PurserError(
      'invalid_request',
      `one call takes at most ${maxRequests} jobs, not ${requests.length}; split the list`,
    );
  }
  for (const request of requests) {
    checkText('the tenant id', request.tenantId);
    checkRequest(request);
  }
  try {
    return await runOn<Enqueued>(
      connection,
      'select job_id::text as "jobId", created from purser.enqueue_many($1::text::jsonb) order by place',
      [serialise(requests)],
    );
  } catch (error) {
    throw translate(error);
  }
}

/**
 * `ctx.enqueue`: for the tenant of the token; refused after the attempt has ended. On a transaction of `ctx.sql` the
 * job exists if that transaction commits.
 */
export async function enqueueChild(
  sql: TenantSql | Tx,
  request: Omit<EnqueueRequest, 'tenantId' | 'dedupWindowMs' | 'onDuplicate'>,
): Promise<Enqueued> {
  const payload = serialise(request.payload ?? {});
  checkRequest(request);
  try {
    const [row] = await runOn<Enqueued>(
      sql,
      `select job_id::text as "jobId", created from purser.enqueue_child($1::text, $2::text::jsonb, $3::text,
         $4::text::timestamptz, $5::int)`,
      [
        request.jobType,
        payload,
        request.dedupKey ?? null,
        request.runAt?.toISOString() ?? null,
        request.priority ?? 0,
      ],
    );
    if (row === undefined) throw new Error('purser.enqueue_child returned no row');
    return row;
  } catch (error) {
    throw translate(error);
  }
}
