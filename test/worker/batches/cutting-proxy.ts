/**
 * A TCP proxy in front of Postgres. A test makes it refuse connections, drop answers, or reset a connection when the
 * server has executed a statement and sends its answer.
 */
import { connect as connectTo, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

export interface CuttingProxy {
  /** The same URL through the proxy. */
  readonly url: string;
  /** Resets open connections and refuses new ones, until admit(). */
  refuse(): void;
  admit(): void;
  /**
   * The server executes the next statement whose text contains `part`, and the client's connection is reset instead
   * of receiving the answer. Resolves when that has happened.
   */
  loseAnswerTo(part: string): Promise<void>;
  /** As above, but the connection stays open without an answer. */
  swallowAnswerTo(part: string): Promise<void>;
  close(): Promise<void>;
}

/** ReadyForQuery outside of a transaction: what came before it is committed. */
const isOver = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

interface Plan {
  readonly part: string;
  readonly act: (cut: () => void) => void;
}

export async function startCuttingProxy(target: string): Promise<CuttingProxy> {
  const { hostname, port } = new URL(target);
  const open = new Set<Socket>();
  let admits = true;
  let plan: Plan | undefined;
  const server = createServer((client) => {
    if (!admits) {
      client.resetAndDestroy();
      return;
    }
    const upstream = connectTo(Number(port), hostname);
    let met: Plan | undefined;
    const cut = (): void => {
      client.resetAndDestroy();
      upstream.resetAndDestroy();
    };
    for (const socket of [client, upstream]) {
      open.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        open.delete(socket);
        cut();
      });
    }
    client.on('data', (bytes) => {
      if (plan !== undefined && bytes.includes(plan.part)) {
        met = plan;
        plan = undefined;
      }
      upstream.write(bytes);
    });
    upstream.on('data', (bytes) => {
      // What comes before only describes the statement.
      if (met !== undefined && bytes.subarray(-isOver.length).equals(isOver)) met.act(cut);
      else client.write(bytes);
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const url = new URL(target);
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as AddressInfo).port);
  const cutAll = (): void => {
    for (const socket of open) socket.resetAndDestroy();
  };
  const meet = (part: string, act: (cut: () => void) => void): Promise<void> =>
    new Promise((resolve) => {
      plan = {
        part,
        act: (cut) => {
          act(cut);
          resolve();
        },
      };
    });
  return {
    url: url.href,
    refuse: () => {
      admits = false;
      cutAll();
    },
    admit: () => {
      admits = true;
    },
    loseAnswerTo: (part) => meet(part, (cut) => cut()),
    swallowAnswerTo: (part) => meet(part, () => {}),
    close: async () => {
      cutAll();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}
