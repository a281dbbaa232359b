/**
 * A view of a pg.Pool whose `connect` waits while the server refuses connections. BullMQ keeps the failure of a first
 * connection for ever, and its workers repeat a refused command (53300, too many connections) without a pause, so that
 * neither timers nor signals are handled.
 */
import { setTimeout as sleep } from 'node:timers/promises';

/** The part of a pg.Pool that is used here. */
interface ConnectablePool {
  readonly ending: boolean;
  connect(): Promise<Client>;
}

interface Client {
  release(destroy?: boolean | Error): void;
}

const firstPauseMs = 200;
const maxPauseMs = 3_000;

type ConnectCallback = (
  error: Error | undefined,
  client: Client | undefined,
  done: (destroy?: boolean | Error) => void,
) => void;

/** `giveUpMs`: after so long `connect` fails with the last error. Default: it waits until the pool is ended. */
export function waitingPool<P extends ConnectablePool>(pool: P, giveUpMs = Infinity): P {
  const connect = async (): Promise<Client> => {
    const deadlineMs = performance.now() + giveUpMs;
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(maxPauseMs, pauseMs * 2)) {
      try {
        return await pool.connect();
      } catch (error) {
        if (pool.ending || performance.now() + pauseMs > deadlineMs) throw error;
        await sleep(pauseMs, undefined, { ref: false });
      }
    }
  };
  const deliver = async (callback: ConnectCallback): Promise<void> => {
    let client: Client;
    try {
      client = await connect();
    } catch (error) {
      callback(error instanceof Error ? error : new Error(String(error)), undefined, () => {});
      return;
    }
    callback(undefined, client, (destroy) => client.release(destroy));
  };
  const connectOrCall = (callback?: ConnectCallback): Promise<Client> | undefined => {
    if (callback === undefined) return connect();
    void deliver(callback);
    return undefined;
  };
  return new Proxy(pool, {
    get: (target, key, receiver) =>
      key === 'connect' ? connectOrCall : (Reflect.get(target, key, receiver) as unknown),
  });
}
