/**
 * Sorts the faults that a start-up step can meet. Transient: the store is away, and the step is tried again without
 * limit. Login: the store refuses the login or has no such database; a variable is wrong, or a credential is being
 * replaced. Final: everything else, such as a missing migration, which ends the start.
 */
import { codeOf, exitCodes, messageOf, PurserError } from '../../errors.ts';
import { redactUrls } from '../../log.ts';
import { isLoginFault, loginFaultText } from '../../connection-faults.ts';
import { isStoreUnavailable } from '../../db/store-errors.ts';

export type FaultKind = 'transient' | 'login' | 'final';

/** Purser's codes of a database that is away. */
const unavailableCodes = new Set(['store_unavailable', 'database_unavailable', 'startup_timeout']);
/** A lock timeout: another session holds what the step writes. */
const lockNotAvailable = '55P03';

/** A server that goes away during the TLS handshake looks like one without TLS. */
const isLostHandshake = (error: PurserError): boolean =>
  error.code === 'tls_unavailable' && codeOf(error.cause) === 'ECONNRESET';

/** The login of TENANT_DATABASE_URL, which connect_database checks too. */
const isUnfitByLogin = (error: unknown): error is PurserError =>
  error instanceof PurserError && isLoginFault(error.cause);

export function faultKind(error: unknown): FaultKind {
  if (isLoginFault(error) || isUnfitByLogin(error)) return 'login';
  if (error instanceof PurserError)
    return unavailableCodes.has(error.code) || isLostHandshake(error) ? 'transient' : 'final';
  const away = isStoreUnavailable(error) || codeOf(error) === lockNotAvailable;
  return away ? 'transient' : 'final';
}

/** `variable` is the one that has the login. */
export function loginRefused(variable: string, error: unknown): PurserError {
  if (isUnfitByLogin(error)) return error;
  return new PurserError(
    'login_refused',
    `${variable}: the server refuses this login or database (${loginFaultText(error) ?? redactUrls(messageOf(error))}). ` +
      `Correct user, password and database of ${variable}, and start again`,
    { exitCode: exitCodes.configuration, cause: error },
  );
}
