/** Waiting for the first connection to a queue store, which a role also starts without; only a refused login or database ends it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { exitCodes, PurserError } from '../errors.ts';
import { isLoginFault } from '../login-faults.ts';
import { explainTls } from '../tls.ts';

const isFinal = (error: unknown): boolean =>
  isLoginFault(error) || (error instanceof PurserError && error.code === 'queue_database_missing');

/** The part of a Redis client that is used here. */
interface Client {
  readonly status: string;
  once(event: 'ready', listener: () => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  off(event: 'ready' | 'error', listener: (error: Error) => void): unknown;
}

/** The client would go on in database 0, which is another fleet's. */
export function explainConnection(error: Error): unknown {
  if (!error.message.startsWith('ERR DB index is out of range')) {
    return explainTls(error, 'Redis');
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
      const explained = explainConnection(error);
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
