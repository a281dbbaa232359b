/** Redis must keep every key of a queue: its policy has to be `noeviction`. */
import { explainConnection } from './first-connection.ts';

/** The part of a Redis client that is used. */
interface Client {
  readonly status: string;
  readonly options: { readonly tls?: unknown };
  once(event: 'ready', listener: () => void): unknown;
  once(event: 'error', listener: (error: Error) => void): unknown;
  info(section: 'memory'): Promise<string>;
}

/** undefined where Redis does not tell. Rejects with the first error where it cannot be reached. */
export async function readEvictionPolicy(client: Client): Promise<string | undefined> {
  await new Promise<void>((resolve, reject) => {
    if (client.status === 'ready') resolve();
    client.once('ready', resolve);
    client.once('error', (error) => reject(explainConnection(error, client)));
  });
  return /maxmemory_policy:(\S+)/.exec(await client.info('memory'))?.[1];
}
