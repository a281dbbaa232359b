/**
 * Enqueueing: an insert in the caller's own transaction. A job is accepted when that transaction commits; the queue
 * store is not involved.
 */
import { asBacklogFull } from '../db/guard/backlog-full.ts';
import type { Tx } from '../db/connect.ts';
import type { TenantSql } from '../db/tenant.ts';
import { PurserError } from '../errors.ts';
import { nameFault } from '../names.ts';
import { runOn } from './connection.ts';
import type { Connection } from './connection.ts';
import { gathererOf } from './gathered.ts';
import {
  checkOptions,
  checkRequest,
  checkText,
  manyOptions,
  maxRequestsCharacters,
  requestOptions,
  serialise,
} from './request.ts';
import type { EnqueueRequest } from './request.ts';

export interface Enqueued {
  readonly jobId: string;
  /** false: the job `jobId` has this dedup key already. */
  readonly created: boolean;
  /** true: that job was given this payload, time, priority and group. */
  readonly replaced?: boolean;
  /** From a pool: no live worker runs the type, by what was known within the last ten seconds. */
  readonly warning?: string;
}

const defaultDedupWindowMs = 86_400_000;

/** SQLSTATEs of purser.enqueue, see sql/0004_job_statements.sql; PU012 is backlog_full. */
const codes: Readonly<Record<string, string>> = {
  PU003: 'unknown_tenant',
  PU004: 'unknown_job_type',
  PU005: 'payload_too_large',
  PU007: 'invalid_payload',
  PU008: 'duplicate_job',
  PU010: 'invalid_request',
};

type Names = Partial<Pick<EnqueueRequest, 'tenantId'>> & Pick<EnqueueRequest, 'jobType'>;

/** What is wrong with the name that the database does not know, of the first request that has such a fault. */
function faultOfUnknown(code: string, requests: readonly Names[]): string | undefined {
  for (const { tenantId, jobType } of requests) {
    const fault =
      code === 'unknown_job_type'
        ? nameFault('job_type', jobType)
        : code === 'unknown_tenant' && tenantId !== undefined
          ? nameFault('tenant', tenantId)
          : undefined;
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function translate(error: unknown, requests: readonly Names[]): unknown {
  if (!(error instanceof Error) || !('code' in error)) return error;
  const code = codes[String(error.code)];
  if (code === undefined) return asBacklogFull(error) ?? error;
  const fault = faultOfUnknown(code, requests);
  const hint =
    fault !== undefined
      ? ` (${fault})`
      : 'hint' in error && typeof error.hint === 'string'
        ? ` (${error.hint})`
        : '';
  const text = error.message.replace(`${code}: `, '');
  return new PurserError(code, `${text}${hint}`, { cause: error, details: { class: 'fatal' } });
}

/**
 * Enqueues one job on the caller's connection or transaction. Concurrent calls on a pool share statements, unless they
 * have a dedup key; each is accepted when its promise resolves.
 * Throws `unknown_tenant`, `unknown_job_type`, `payload_too_large` (1 MiB), `invalid_payload` or
 * `invalid_request`; all of them are fatal to an attempt. `backlog_full` is not: in a transaction of the caller, COMMIT
 * may raise it too, as SQLSTATE PU012.
 */
export async function enqueue(connection: Connection, request: EnqueueRequest): Promise<Enqueued> {
  checkOptions('enqueue', request, requestOptions);
  const payload = serialise(request.payload ?? {});
  checkText('the tenant id', request.tenantId);
  checkRequest(request);
  const { tenantId, jobType, dedupKey, group } = request;
  const priority = request.priority ?? 0;
  const runAt = request.runAt?.toISOString() ?? null;
  const parameters = [
    tenantId,
    jobType,
    payload,
    dedupKey ?? null,
    runAt,
    priority,
    request.dedupWindowMs ?? defaultDedupWindowMs,
    request.onDuplicate ?? 'ignore',
    group ?? null,
  ];
  const alone = () => enqueueAlone(connection, parameters, request);
  const together =
    dedupKey === undefined && request.onDuplicate === undefined
      ? gathererOf(connection, (requests) => enqueueGathered(connection, requests))
      : undefined;
  if (together === undefined) return alone();
  const facts = JSON.stringify({ tenantId, jobType, priority, runAt, group });
  const jobId = await together({
    tenantId,
    text: `${facts.slice(0, -1)},"payload":${payload}}`,
    alone: async () => (await alone()).jobId,
  });
  return { jobId, created: true, replaced: false };
}

async function enqueueAlone(
  connection: Connection,
  parameters: (string | number | null)[],
  request: Names,
): Promise<Enqueued> {
  try {
    const [row] = await runOn<Required<Omit<Enqueued, 'warning'>>>(
      connection,
      `select job_id::text as "jobId", created, replaced from purser.enqueue($1::text, $2::text, $3::text::jsonb,
         $4::text, $5::text::timestamptz, $6::int, $7::float8 * interval '1 millisecond', '{}', $8::text,
         $9::text)`,
      parameters,
    );
    if (row === undefined) throw new Error('purser.enqueue returned no row');
    return row;
  } catch (error) {
    throw translate(error, [request]);
  }
}

/** Fails where a row is locked, so that no request waits for the lock of another one. */
async function enqueueGathered(connection: Connection, requests: string): Promise<string[]> {
  const rows = await runOn<{ jobId: string }>(
    connection,
    'select job_id::text as "jobId" from purser.enqueue_gathered($1::text::jsonb) order by place',
    [requests],
  );
  return rows.map(({ jobId }) => jobId);
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
    checkOptions('enqueueMany', request, manyOptions);
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
    throw translate(error, requests);
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
         $4::text::timestamptz, $5::int, $6::text)`,
      [
        request.jobType,
        payload,
        request.dedupKey ?? null,
        request.runAt?.toISOString() ?? null,
        request.priority ?? 0,
        request.group ?? null,
      ],
    );
    if (row === undefined) throw new Error('purser.enqueue_child returned no row');
    return row;
  } catch (error) {
    throw translate(error, [request]);
  }
}
