/**
 * Enqueueing: an insert in the caller's own transaction. A job is accepted when that transaction commits; the queue
 * store is not involved.
 */
import type { Tx } from '../db/connect.ts';
import type { TenantSql } from '../db/tenant.ts';
import { PurserError } from '../errors.ts';
import { checkRequest, checkText, maxRequestsCharacters, serialise } from './request.ts';
import type { EnqueueRequest } from './request.ts';

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
      [serialise(requests, maxRequestsCharacters)],
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
