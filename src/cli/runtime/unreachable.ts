/** Faults of a command that cannot connect to a store: the message names the variable with its address and login. */
import { isLoginFault, loginFaultText } from '../../connection-faults.ts';
import { codeOf, exitCodes, messageOf, PurserError } from '../../errors.ts';
import { redactUrls } from '../../log.ts';
import { blamedVariable, storeText } from './store-place.ts';
import type { StoreConfig } from './store-place.ts';

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

/** In words, where the driver's own are none: an attempt at several addresses has no message. */
const meanings: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the name service does not answer',
  ETIMEDOUT: 'no answer',
  CONNECT_TIMEOUT: 'no answer',
  CONNECTION_CLOSED: 'the server closed the connection',
  ECONNRESET: 'the server closed the connection',
};

/**
 * `cannot_connect` (exit 69) where the error says that a store could not be used; any other error unchanged. The
 * message names the variable of the server that the error is about, by default `usual`, with host and port.
 */
export function asUnreachable(
  config: StoreConfig | undefined,
  usual: string,
  error: unknown,
): unknown {
  const code = codeOf(error);
  const isMet = unavailableCodes.has(code) || isFailedConnect(error) || isLoginFault(error);
  if (error instanceof PurserError || !isMet) return error;
  const variable = config === undefined ? usual : blamedVariable(config, error, usual);
  const store = config === undefined ? 'a required service' : storeText(config, variable);
  const text =
    loginFaultText(error) ??
    meanings[code] ??
    redactUrls(messageOf(error)).replace(new RegExp(`^\\w+ ${code} `), '');
  return new PurserError(
    'cannot_connect',
    `cannot connect to ${store}: ${text} (${code})\n  ${fixOf(error, variable)}`,
    { exitCode: exitCodes.unavailable, cause: error },
  );
}

/** Runs what uses one store only. */
export async function using<T>(
  config: StoreConfig,
  variable: string,
  run: () => Promise<T>,
): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw asUnreachable(config, variable, error);
  }
}
