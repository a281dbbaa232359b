/** Which errors of a tenant transaction are an outage of the database, which costs a job no attempt. */
import { codeOf, exitCodes, PurserError } from '../../errors.ts';

/** The server ends a transaction that is idle for longer. */
export const idleInTransactionMs = 5_000;

/** The server leaves (57P...), has no connection to spare, or the driver lost its own. */
const outages = new Set(['57P01', '57P02', '57P03', '53300', 'CONNECT_TIMEOUT']);
const lostConnection = new Set([
  'CONNECTION_CLOSED',
  'CONNECTION_DESTROYED',
  'CONNECTION_ENDED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
]);
const retryAfterMs = 2_000;

/**
 * An outage is not counted as an attempt. A connection that was lost after a longer time may have been ended because
 * the transaction was idle: that stays an error of the handler.
 */
export function asOutage(error: unknown, afterMs: number): unknown {
  const code = codeOf(error);
  const lost = lostConnection.has(code) && afterMs < idleInTransactionMs && isOfDriver(error);
  if (!lost && !outages.has(code)) return error;
  return databaseUnavailable(`the database went away during a tenant transaction (${code})`, error);
}

/** Whether the session is gone: the server ended it or went away, or the connection was lost. */
export function isLostSession(error: unknown): boolean {
  const code = codeOf(error);
  return code === '57P01' || lostConnection.has(code);
}

export function databaseUnavailable(message: string, cause: unknown): PurserError {
  return new PurserError('database_unavailable', message, {
    cause,
    exitCode: exitCodes.unavailable,
    details: { class: 'snooze', retryAfterMs },
  });
}

/** A socket's error could also be of something that the transaction's code talked to; queries are named. */
const isOfDriver = (error: unknown): boolean =>
  codeOf(error).startsWith('CONNECT') ||
  (error instanceof Error && ('query' in error || Reflect.get(error, 'syscall') === 'connect'));
