/**
 * Errors of the API as RFC 9457 has them: `application/problem+json` with a stable `code`. What is not an expected error is
 * logged, and its answer says nothing of it.
 */
import type { Context } from 'hono';
import { HTTPException } from 'hono/http-exception';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { STATUS_CODES } from 'node:http';
import { asBacklogFull } from '../../db/guard/backlog-full.ts';
import { isStoreUnavailable } from '../../db/store-errors.ts';
import { exitCodes, PurserError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { WebEnv } from '../web-env.ts';

/** One part of a request that is wrong. */
export interface Fault {
  readonly in: 'path' | 'query' | 'header' | 'body';
  /** A JSON pointer into the body, or the name of the parameter. */
  readonly name: string;
  readonly detail: string;
}

export interface Problem {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly errors?: readonly Fault[];
  readonly retryAfterMs?: number;
}

export const apiPath = /^\/api(\/|$)/;

/** Throws a `PurserError` that names each fault. */
export function refuseFaults(errors: readonly Fault[]): never {
  const detail = errors.map((fault) => `${fault.in} ${fault.name}: ${fault.detail}`).join('; ');
  throw new PurserError('invalid_request', detail, { status: 400, details: { errors } });
}

/** Statuses of errors that src/jobs, src/budget and src/operations throw without one. */
const statusOf: Readonly<Record<string, number>> = {
  usage: 400,
  invalid_request: 400,
  invalid_payload: 400,
  payload_too_large: 413,
  unknown_job: 404,
  unknown_tenant: 404,
  unknown_job_type: 404,
  unknown_schedule: 404,
  builtin_disabled: 409,
  duplicate_job: 409,
  cancel_undecided: 503,
  encryption_key_missing: 503,
  encryption_keys_differ: 503,
  invalid_handlers: 503,
};

function retryOf({ details }: PurserError): { retryAfterMs?: number } {
  const { retryAfterMs } = details;
  return typeof retryAfterMs === 'number' ? { retryAfterMs } : {};
}

const isFaults = (value: unknown): value is readonly Fault[] => Array.isArray(value);

function ofPurser(error: PurserError): Problem | undefined {
  const status =
    error.status ?? statusOf[error.code] ?? (error.exitCode === exitCodes.usage ? 400 : undefined);
  if (status === undefined) return undefined;
  const { errors } = error.details;
  const { code, message: detail } = error;
  return { status, code, detail, ...(isFaults(errors) ? { errors } : {}), ...retryOf(error) };
}

/** undefined: unexpected. */
function problemOf(error: unknown): Problem | undefined {
  if (error instanceof HTTPException) return ofHttp(error);
  const expected = error instanceof PurserError ? error : asBacklogFull(error);
  if (expected !== undefined) return ofPurser(expected);
  if (!isStoreUnavailable(error)) return undefined;
  const detail = 'the database does not answer; try again';
  return { status: 503, code: 'store_unavailable', detail, retryAfterMs: 5_000 };
}

const ofHttp = ({ status }: HTTPException): Problem =>
  status === 413
    ? { status, code: 'body_too_large', detail: 'the body is larger than the API takes' }
    : { status, code: 'invalid_request', detail: STATUS_CODES[status] ?? 'the request is wrong' };

const hasBody = (status: number): status is ContentfulStatusCode => status >= 200 && status < 600;

/** Answers with a text of this type. */
export const answerText = (
  c: Context<WebEnv>,
  { status, type, text }: { readonly status: number; readonly type: string; readonly text: string },
): Response => c.body(text, hasBody(status) ? status : 500, { 'Content-Type': type });

/** Answers with a problem. */
function answerProblem(
  c: Context<WebEnv>,
  { status, code, detail, errors, retryAfterMs }: Problem,
): Response {
  if (retryAfterMs !== undefined) c.header('Retry-After', String(Math.ceil(retryAfterMs / 1_000)));
  const title = STATUS_CODES[status] ?? 'Error';
  const text = JSON.stringify({ type: 'about:blank', title, status, code, detail, errors });
  return answerText(c, { status, type: 'application/problem+json', text });
}

/** The answer to whatever was thrown under /api. */
export function answerThrown(c: Context<WebEnv>, error: unknown, log: Logger): Response {
  const problem = problemOf(error);
  if (problem === undefined || problem.status >= 500) {
    log.error({ error, method: c.req.method, path: c.req.path }, 'request_failed');
  }
  const unexpected = { status: 500, code: 'internal', detail: 'see the log of the web process' };
  return answerProblem(c, problem ?? unexpected);
}
