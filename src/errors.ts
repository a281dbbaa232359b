/**
 * Every expected failure carries a stable `code` word, a message that names the thing and the fix,
 * and the exit code and HTTP status that a caller at the edge should use.
 */

/** Exit codes of the CLI; 78 is EX_CONFIG of sysexits.h, 64 EX_USAGE, 69 EX_UNAVAILABLE. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 64,
  unavailable: 69,
  configuration: 78,
} as const;

export interface PurserErrorOptions {
  /** The error underneath, kept for logs. */
  readonly cause?: unknown;
  /** Structured facts for JSON output and logs. Never a secret, never a row's value. */
  readonly details?: Record<string, unknown>;
  /** HTTP status, where one fits (402 for money, 429 for rates, 503 for a store that is down). */
  readonly status?: number;
  /** Exit code of the CLI when this error ends a command. Default 1. */
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

/** A wrong call of the CLI or of a public function: the message says what would be right. */
export class UsageError extends PurserError {
  override readonly name = 'UsageError';

  constructor(message: string, options: PurserErrorOptions = {}) {
    super('usage', message, { exitCode: exitCodes.usage, ...options });
  }
}

/** A handler's deadline passed. Retried like any other failure of an attempt. */
export class JobTimeoutError extends PurserError {
  override readonly name = 'JobTimeoutError';

  constructor(jobType: string, timeoutMs: number) {
    super('job_timeout', `${jobType} did not finish within its timeout of ${timeoutMs} ms`, {
      details: { jobType, timeoutMs },
    });
  }
}

/** Text of anything thrown, `null` and objects without a message included. */
export function messageOf(thrown: unknown): string {
  if (thrown instanceof Error) return thrown.message;
  if (typeof thrown === 'string') return thrown;
  try {
    return JSON.stringify(thrown) ?? String(thrown);
  } catch {
    return Object.prototype.toString.call(thrown);
  }
}

/** The stable code word of anything thrown: ours, a driver's (`ECONNREFUSED`, SQLSTATE) or `error`. */
export function codeOf(thrown: unknown): string {
  if (thrown !== null && typeof thrown === 'object' && 'code' in thrown) {
    const { code } = thrown;
    if (typeof code === 'string' && code !== '') return code;
  }
  return 'error';
}
