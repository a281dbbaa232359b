/**
 * The budget fails closed: when Postgres cannot be asked, the answer is 503 and no request leaves.
 */
import { codeOf, messageOf, PurserError } from '../errors.ts';

/** SQLSTATE classes that say "not now": connection, resources, operator intervention, rollback. */
const unavailableState = /^(08|53|57|40)[0-9A-Z]{3}$/;
/** Of Node's sockets (`ECONNRESET`, `EPIPE`) and of the driver (`CONNECTION_CLOSED`, `CONNECT_TIMEOUT`). */
const driverCode = /^(E[A-Z]{3,}|CONNECT\w*|EAI_\w+)$/;

/** True for a failure of the way to Postgres rather than of the statement. */
export function isStoreDown(thrown: unknown): boolean {
  if (thrown instanceof PurserError) return thrown.code === 'budget_unavailable';
  const code = codeOf(thrown);
  return driverCode.test(code) || unavailableState.test(code);
}

/** Runs one budget statement; a store that is down becomes `budget_unavailable` (503, retryable). */
export async function onStore<T>(act: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof PurserError || !isStoreDown(error)) throw error;
    throw new PurserError(
      'budget_unavailable',
      `cannot ${act}: the database does not answer (${messageOf(error)}); check DATABASE_URL`,
      { status: 503, cause: error, details: { class: 'retry' } },
    );
  }
}
