/** `connect_timeout` of a URL decides, in every pool, how long an attempt to connect may take. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connect } from '../../src/db/connect.ts';
import { openQueueBackend } from '../../src/queues/backend.ts';
import { silentLog } from '../support/llm-attempt.ts';

/** Accepts connections and never answers. */
let mute: Server;
let port: number;
const sockets: Socket[] = [];

beforeAll(async () => {
  mute = createServer((socket) => void sockets.push(socket.on('error', () => {})));
  await once(mute.listen(0, '127.0.0.1'), 'listening');
  const at = mute.address();
  port = typeof at === 'object' && at !== null ? at.port : 0;
});

afterAll(() => {
  for (const socket of sockets) socket.destroy();
  mute.close();
});

const settled = async (attempt: Promise<unknown>): Promise<unknown> =>
  attempt.catch((error: unknown) => error);

/** Its first attempt to connect, and what ends it. */
type Attempt = (query: string) => readonly [Promise<unknown>, () => Promise<unknown>];

const systemPool: Attempt = (query) => {
  const sql = connect(`postgres://u:p@127.0.0.1:${port}/d?${query}`, {
    max: 1,
    applicationName: 'purser test',
  });
  return [settled(sql`select 1`.execute()), () => sql.end({ timeout: 0 })];
};

const queuePool: Attempt = (query) => {
  const backend = openQueueBackend({
    databaseUrl: `postgres://u:p@127.0.0.1:${port}/d?${query}`,
    workers: 0,
    fleetId: 'connect-timeout',
    applicationName: 'purser test',
    log: silentLog,
  });
  return [settled(backend.ping()), () => backend.close()];
};

it.each([
  ['postgres.js', systemPool, /CONNECT_TIMEOUT/],
  ['pg', queuePool, /connection timeout/],
] as const)('an attempt by %s with a shorter one ends first', async (_, open, message) => {
  const [long, endLong] = open('connect_timeout=20');
  await expect.poll(() => sockets.length, { timeout: 7_000 }).toBeGreaterThan(0);
  const [short, endShort] = open('connect_timeout=1');
  const first = await Promise.race([
    long.then((error) => ['long', error] as const),
    short.then((error) => ['short', error] as const),
  ]);
  expect(first).toEqual([
    'short',
    expect.objectContaining({ message: expect.stringMatching(message) }),
  ]);
  await Promise.all([endShort(), endLong()]);
  sockets.length = 0;
});
