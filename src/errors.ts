/**
 * Expected failures: each has a stable `code`, a message that names the cause and the fix, and the exit code
 * and HTTP status for the CLI and the web role.
 */

import { types } from 'node:util';
import { boundedJson, read } from './bounded-json.ts';

/** Exit codes of the CLI; 78 is EX_CONFIG of sysexits.h, 64 EX_USAGE, 69 EX_UNAVAILABLE. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 64,
  unavailable: 69,
  configuration: 78,
} as const;

export interface PurserErrorOptions {
  /** The original error, for logs. */
  readonly cause?: unknown;
  /** Structured data for JSON output and logs. Never a secret, never a row's value. */
  readonly details?: Record<string, unknown>;
  /** HTTP status, if one fits (402 budget, 429 rate limit, 503 store unavailable). */
  readonly status?: number;
  /** Exit code of the CLI. Default 1. */
  readonly exitCode?: number;
}

export class PurserError extends Error {
  override readonly name: string = 'PurserError';
  readonly code: string;
  readonly details: Record<string, unknown>;
  readonly status: number | undefined;
  readonly exitCode: number;

  constructor(code: string, message: string, options: PurserErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
    this.status = options.status;
    this.exitCode = options.exitCode ?? exitCodes.failed;
  }
}

/** A wrong call of the CLI or of a public function; the message says what is accepted. */
export class UsageError extends PurserError {
  override readonly name = 'UsageError';

  constructor(message: string, options: PurserErrorOptions = {}) {
    super('usage', message, { exitCode: exitCodes.usage, ...options });
  }
}

/** An attempt reached its deadline. Retried like any other failure. */
export class JobTimeoutError extends PurserError {
  override readonly name = 'JobTimeoutError';

  constructor(jobType: string, timeoutMs: number) {
    super('job_timeout', `${jobType} did not finish within its timeout of ${timeoutMs} ms`, {
      details: { jobType, timeoutMs },
    });
  }
}

/** Also one of another realm, such as a context of node:vm, whose Error is another class. */
export const isError = (value: unknown): value is Error =>
  types.isNativeError(value) || value instanceof Error;

/** Of JSON in place of a message. */
const maxMessageLength = 10_000;

/** The message of any thrown value, including `null` and objects without a message. */
export function messageOf(thrown: unknown): string {
  if (thrown === null || (typeof thrown !== 'object' && typeof thrown !== 'function')) {
    return String(thrown);
  }
  const message = read(thrown, 'message');
  if (typeof message === 'string') return message;
  const said = isError(thrown) && message !== undefined ? message : thrown;
  const json = JSON.stringify(boundedJson(said, maxMessageLength)) ?? '{}';
  return json === '{}' ? 'something was thrown that has no message; throw an Error' : json;
}

/** The code of any thrown value: Purser's, a driver's (`ECONNREFUSED`, SQLSTATE) or `error`. */
export function codeOf(thrown: unknown): string {
  if (thrown !== null && typeof thrown === 'object' && 'code' in thrown) {
    const { code } = thrown;
    if (typeof code === 'string' && code !== '') return code;
  }
  return 'error';
}
