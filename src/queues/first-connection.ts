/** Waiting for the first connection to a queue store, which a role also starts without; only a refused login or database ends it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, exitCodes, PurserError } from '../errors.ts';
import { explainTls, isLoginFault, tlsUnavailable } from '../connection-faults.ts';

const isFinal = (error: unknown): boolean =>
  isLoginFault(error) || (error instanceof PurserError && error.code === 'queue_database_missing');

/** The part of a Redis client that is used here. */
interface Client {
  readonly status: string;
  readonly options: { readonly tls?: unknown };
  once(event: 'ready', listener: () => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  off(event: 'ready' | 'error', listener: (error: Error) => void): unknown;
}

/**
 * A database that is not there: the client would go on in database 0, which is another fleet's. A handshake that has no
 * answer: a Redis without TLS waits for the end of a command.
 */
export function explainConnection(error: Error, client: Pick<Client, 'options'>): unknown {
  if (!error.message.startsWith('ERR DB index is out of range')) {
    const inTls = client.options.tls !== undefined;
    return inTls && codeOf(error) === 'ETIMEDOUT'
      ? tlsUnavailable(error, 'Redis')
      : explainTls(error, 'Redis');
  }
  return new PurserError(
    'queue_database_missing',
    'REDIS_URL: this Redis has no database of the number in the path (see its setting `databases`); use one that it has',
    { exitCode: exitCodes.configuration, cause: error },
  );
}

/** Rejects when the server refuses the login or has no such database; the client itself would connect again without an end. */
export async function untilReady(client: Client): Promise<void> {
  if (client.status === 'ready') return;
  await new Promise<void>((resolve, reject) => {
    const refused = (error: Error): void => {
      const explained = explainConnection(error, client);
      if (!isFinal(explained)) return;
      client.off('error', refused);
      reject(explained);
    };
    client.on('error', refused);
    client.once('ready', () => {
      client.off('error', refused);
      resolve();
    });
  });
}

/** Resolves after `timeoutMs` at the latest, also after a failure other than a refused login. */
export async function withinOrAway(timeoutMs: number, connected: Promise<unknown>): Promise<void> {
  const answered = connected.catch((error: unknown) => {
    if (isFinal(error)) throw error;
  });
  await Promise.race([answered, sleep(timeoutMs, undefined, { ref: false })]);
}
