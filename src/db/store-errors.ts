/** Tells an unavailable database from a failed statement, and reports the first as `store_unavailable` (503). */
import { codeOf, messageOf, PurserError } from '../errors.ts';

/** SQLSTATE classes of connection failure, missing resources, operator intervention, and rollback; a read-only server. */
const unavailableState = /^((08|53|57|40)[0-9A-Z]{3}|25006)$/;
/** Codes of Node's sockets (`ECONNRESET`, `EPIPE`) and of the driver (`CONNECTION_CLOSED`, `CONNECT_TIMEOUT`). */
const driverCode = /^(E[A-Z]{3,}|CONNECT\w*|EAI_\w+)$/;

/** True where the database could not be reached or did not run the statement. */
export function isStoreUnavailable(thrown: unknown): boolean {
  if (thrown instanceof PurserError) return thrown.code === 'store_unavailable';
  const code = codeOf(thrown);
  return driverCode.test(code) || unavailableState.test(code);
}

/** Not a deadlock or a statement timeout, which concern one statement. */
export const isServerAway = (thrown: unknown): boolean =>
  isStoreUnavailable(thrown) && !/^(40|57014)/.test(codeOf(thrown));

/** Half to one and a half of it, so that waiting jobs do not return at the same time. */
const retryMs = 10_000;

/**
 * Runs one statement. Where the database is unavailable, throws `store_unavailable` (503); a job that ends by it waits,
 * and its attempt does not count.
 */
export async function mapStoreErrors<T>(action: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof PurserError || !isStoreUnavailable(error)) throw error;
    const retryAfterMs = Math.round(retryMs * (0.5 + Math.random()));
    throw new PurserError(
      'store_unavailable',
      `cannot ${action}: the database does not answer (${messageOf(error)}); check DATABASE_URL`,
      { status: 503, cause: error, details: { class: 'snooze', retryAfterMs } },
    );
  }
}
