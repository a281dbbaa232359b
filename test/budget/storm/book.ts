/**
 * A provider with a book of its own: an HTTP server that bills each request that it begins to process, by the id that
 * the request carries, and fails some. What it bills it bills, whether anybody hears its answer or not.
 */
import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';

export interface ProviderBook {
  readonly url: string;
  /** Nano-USD by reservation id; every billed request in one entry. */
  readonly billed: ReadonlyMap<string, bigint>;
  /** Requests with an id that had been billed before. */
  readonly repeated: () => number;
  stop(): Promise<void>;
}

/** Shares of requests: answered with an error and not billed; dropped before and after they are billed. */
const faults = { refused: 0.02, droppedBefore: 0.01, droppedAfter: 0.03 };
/** Shares of billed requests that cost nothing, and more than their hold. */
const costs = { nothing: 0.02, overage: 0.03 };

export async function startProviderBook(random: () => number): Promise<ProviderBook> {
  const billed = new Map<string, bigint>();
  let repeated = 0;
  const server = createServer((request, response) => {
    request.resume();
    request.once('end', () => {
      const [, act, id = '', hold = '0'] = (request.url ?? '').split('/');
      if (act === 'report') report(response, id);
      else call(response, id, BigInt(hold));
    });
  });

  function call(response: ServerResponse, id: string, hold: bigint): void {
    const luck = random();
    if (luck < faults.refused) {
      response.writeHead(429).end();
      return;
    }
    if (luck < faults.refused + faults.droppedBefore) {
      response.destroy();
      return;
    }
    if (billed.has(id)) repeated += 1;
    billed.set(id, costOf(hold));
    if (luck < faults.refused + faults.droppedBefore + faults.droppedAfter) response.destroy();
    else response.end(String(billed.get(id)));
  }

  function costOf(hold: bigint): bigint {
    const luck = random();
    const share = BigInt(Math.floor(random() * 1_000_000));
    if (luck < costs.nothing) return 0n;
    const cost = (hold * share) / 1_000_000n;
    return luck < costs.nothing + costs.overage ? hold + cost : cost;
  }

  /** A report of usage that arrives after the answer was lost. */
  function report(response: ServerResponse, id: string): void {
    const cost = billed.get(id);
    if (cost === undefined) response.writeHead(404).end();
    else response.end(String(cost));
  }

  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the provider has no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    billed,
    repeated: () => repeated,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
