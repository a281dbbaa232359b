/** A server without a free connection (53300) at the start of queues in Postgres: they wait, and work afterwards. */
import { createServer, connect } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openQueueBackend } from '../../src/queues/backend.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { silentLog } from '../support/llm-attempt.ts';

let test: TestDatabase;
let proxy: Server;
let refusing = true;
const sockets = new Set<Socket>();

const fields = Buffer.from('SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0');
const refusal = Buffer.concat([Buffer.from('E\0\0\0\0'), fields]);
refusal.writeInt32BE(fields.length + 4, 1);

beforeAll(async () => {
  test = await freshDatabase();
  const { hostname, port } = new URL(test.url);
  proxy = createServer((client) => {
    sockets.add(client);
    client.on('error', () => {});
    if (refusing) {
      client.once('data', () => client.end(refusal));
      return;
    }
    const server = connect(Number(port), hostname);
    server.on('error', () => client.destroy());
    client.on('close', () => server.destroy());
    client.pipe(server).pipe(client);
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  proxy.close();
  await test.close();
});

it('a worker pauses between its attempts to connect, and takes jobs once it is connected', async () => {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  const { port } = proxy.address() as AddressInfo;
  const url = new URL(test.url);
  url.host = `127.0.0.1:${port}`;
  const backend = openQueueBackend({
    databaseUrl: url.href,
    workers: 1,
    fleetId: 'refused-connections',
    applicationName: 'purser test',
    log: silentLog,
  });
  const taken: string[] = [];
  const worker = backend.worker('refused', async ({ data }) => void taken.push(data.entryId), {
    concurrency: 1,
  });
  const queue = backend.queue('refused');
  void worker.run().catch(() => {});
  await sleep(1_000);
  expect(sockets.size).toBeLessThan(20);
  await expect(backend.ping()).rejects.toMatchObject({ code: '53300' });
  refusing = false;
  await queue.add('refused', { entryId: '7', jobIds: ['7'] });
  await expect.poll(() => taken, { timeout: 20_000 }).toEqual(['7']);
  await worker.close();
  await queue.close();
  await backend.close();
}, 40_000);
