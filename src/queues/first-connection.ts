/** Waiting for the first connection to a queue store, which a role also starts without; only a refused login ends it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isLoginFault } from '../login-faults.ts';

/** The part of a Redis client that is used here. */
interface Client {
  readonly status: string;
  once(event: 'ready', listener: () => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  off(event: 'ready' | 'error', listener: (error: Error) => void): unknown;
}

/** Rejects when the server refuses the login; the client itself would connect again without an end. */
export async function untilReady(client: Client): Promise<void> {
  if (client.status === 'ready') return;
  await new Promise<void>((resolve, reject) => {
    const refused = (error: Error): void => {
      if (!isLoginFault(error)) return;
      client.off('error', refused);
      reject(error);
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
    if (isLoginFault(error)) throw error;
  });
  await Promise.race([answered, sleep(timeoutMs, undefined, { ref: false })]);
}
