/**
 * Accepting work: an insert in the caller's own transaction. Accepted is committed; no queue is asked.
 */
import type { Queryable } from '../db/connect.ts';
import type { TenantSql } from '../db/tenant.ts';
import { messageOf, PurserError } from '../errors.ts';

export interface EnqueueRequest {
  readonly tenantId: string;
  readonly jobType: string;
  readonly payload?: object;
  /** Unique per tenant and job type while the job lives, and for `dedupWindowMs` from now. */
  readonly dedupKey?: string | undefined;
  readonly dedupWindowMs?: number;
  readonly runAt?: Date | undefined;
  readonly priority?: number | undefined;
}

export interface Enqueued {
  readonly jobId: string;
  /** false: a job with this dedup key was there already, and `jobId` is that one. */
  readonly created: boolean;
}

const defaultDedupWindowMs = 86_400_000;

/** SQLSTATEs of purser.enqueue, see sql/0003_jobs.sql. */
const codes: Readonly<Record<string, string>> = {
  PU003: 'unknown_tenant',
  PU004: 'unknown_job_type',
  PU005: 'payload_too_large',
  PU007: 'invalid_payload',
};

function translate(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error)) return error;
  const code = codes[String(error.code)];
  if (code === undefined) return error;
  const hint = 'hint' in error && typeof error.hint === 'string' ? ` (${error.hint})` : '';
  const text = error.message.replace(`${code}: `, '');
  return new PurserError(code, `${text}${hint}`, { cause: error, details: { class: 'fatal' } });
}

/** jsonb has no \u0000 and Postgres no lone surrogates: such text is refused here, by name. */
function checkText(what: string, text: string): void {
  if (text.includes('\u0000') || !text.isWellFormed()) {
    throw new PurserError(
      'invalid_payload',
      `${what} contains a NUL character or half of a surrogate pair, which Postgres cannot store; remove it`,
      { details: { class: 'fatal' } },
    );
  }
}

/** The payload as JSON text. Throws `invalid_payload` for what JSON or Postgres cannot hold. */
function serialise(payload: object): string {
  try {
    return JSON.stringify(payload, (key, value: unknown) => {
      checkText('a payload key', key);
      if (typeof value === 'string') checkText(`payload field ${JSON.stringify(key)}`, value);
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

function refuse(fault: string): never {
  throw new PurserError('invalid_request', fault, { details: { class: 'fatal' } });
}

/** Throws `invalid_request` for what the table would refuse in words that name a constraint. */
function checkRequest({ dedupKey, priority = 0, runAt }: Omit<EnqueueRequest, 'tenantId'>): void {
  if (!Number.isInteger(priority) || Math.abs(priority) > maxPriority) {
    refuse(`the priority must be a whole number from -${maxPriority} to ${maxPriority}`);
  }
  if (runAt !== undefined && Number.isNaN(runAt.getTime())) refuse('runAt is not a valid date');
  if (dedupKey === undefined) return;
  checkText('the dedup key', dedupKey);
  // Postgres counts code points, and so does this.
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
export async function enqueue(sql: Queryable, request: EnqueueRequest): Promise<Enqueued> {
  const payload = serialise(request.payload ?? {});
  checkText('the tenant id', request.tenantId);
  checkRequest(request);
  try {
    const [row] = await sql<{ job_id: string; created: boolean }[]>`
      select job_id, created from purser.enqueue(
        ${request.tenantId}, ${request.jobType}, ${payload}::text::jsonb, ${request.dedupKey ?? null},
        ${request.runAt ?? null}, ${request.priority ?? 0},
        ${request.dedupWindowMs ?? defaultDedupWindowMs} * interval '1 millisecond')`;
    if (row === undefined) throw new Error('purser.enqueue returned no row');
    return { jobId: row.job_id, created: row.created };
  } catch (error) {
    throw translate(error);
  }
}

/** `ctx.enqueue`: for the token's tenant, refused once the attempt has ended. */
export async function enqueueChild(
  sql: TenantSql,
  request: Omit<EnqueueRequest, 'tenantId' | 'dedupWindowMs'>,
): Promise<Enqueued> {
  const payload = serialise(request.payload ?? {});
  checkRequest(request);
  try {
    const [row] = await sql<{ job_id: string; created: boolean }>`
      select job_id, created from purser.enqueue_child(
        ${request.jobType}, ${payload}::text::jsonb, ${request.dedupKey ?? null},
        ${request.runAt ?? null}, ${request.priority ?? 0})`;
    if (row === undefined) throw new Error('purser.enqueue_child returned no row');
    return { jobId: row.job_id, created: row.created };
  } catch (error) {
    throw translate(error);
  }
}
