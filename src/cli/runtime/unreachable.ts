/** Faults of a command that cannot connect to a store: the message names the variable with its address and login. */
import { isLoginFault, loginFaultText } from '../../connection-faults.ts';
import { codeOf, exitCodes, messageOf, PurserError } from '../../errors.ts';
import { redactUrls } from '../../log.ts';

const tooManyConnections = '53300';
const unavailableCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'ETIMEDOUT',
  'EAI_AGAIN',
  'CONNECT_TIMEOUT',
  'CONNECTION_CLOSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  tooManyConnections,
  '57P01',
  '57P03',
]);

/** Of any code: a socket that is not there is ENOENT, one of another user EACCES. */
const isFailedConnect = (error: unknown): boolean =>
  error instanceof Error && 'syscall' in error && error.syscall === 'connect';

function fixOf(error: unknown, variable: string): string {
  if (isLoginFault(error)) return `Check ${variable} (user, password and database).`;
  return codeOf(error) === tooManyConnections
    ? 'Run fewer processes, take a larger plan, or use a pooler; docs/deployment.md lists the connections of each process.'
    : `Check ${variable} (address and login), and that the service is running.`;
}

/** `cannot_connect` (exit 69) where the error says that a store could not be used; any other error unchanged. */
export function asUnreachable(variable: string, error: unknown): unknown {
  const code = codeOf(error);
  const isMet = unavailableCodes.has(code) || isFailedConnect(error) || isLoginFault(error);
  if (error instanceof PurserError || !isMet) return error;
  const text = loginFaultText(error) ?? redactUrls(messageOf(error) || code);
  return new PurserError(
    'cannot_connect',
    `cannot connect to a required service (${code}): ${text}\n  ${fixOf(error, variable)}`,
    { exitCode: exitCodes.unavailable, cause: error },
  );
}

/** Runs what uses one store only. */
export async function using<T>(variable: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw asUnreachable(variable, error);
  }
}
