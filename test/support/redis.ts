/**
 * A Redis of its own for a test file: own port, own folder, nothing persisted. Without a
 * redis-server the suites on Redis are skipped aloud; under CI the run fails before it starts.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect } from 'vitest';
import { endChild, freePort, track } from './children.ts';
import { redisAvailable, redisMissing } from './redis-binary.ts';

if (!redisAvailable) {
  process.stderr.write(`SKIPPED on Redis: ${expect.getState().testPath}: ${redisMissing}\n`);
}

/** `describe` for a suite that needs Redis; see the module's promise. */
// oxlint-disable-next-line vitest/valid-title, vitest/valid-describe-callback -- defines no suite
export const describeOnRedis = describe.skipIf(!redisAvailable);

export interface TestRedis {
  readonly url: string;
  readonly port: number;
  /** SIGKILL, as in a crash; start() brings an empty one back on the same port. */
  kill(): Promise<void>;
  start(): Promise<void>;
  /** Sends one command over a connection of its own and returns the first line of the reply. */
  command(...words: string[]): Promise<string>;
  /** Ends it and removes its folder. */
  stop(): Promise<void>;
}

/** Paths of PEM files; with them the server speaks TLS only. */
interface RedisTls {
  readonly certificate: string;
  readonly key: string;
}

/** Starts a Redis as production should have it (`noeviction`), without persistence. */
export async function startRedis(tls?: RedisTls): Promise<TestRedis> {
  const folder = await mkdtemp(join(tmpdir(), 'purser-redis-'));
  const port = await freePort();
  const listening: Record<string, string> =
    tls === undefined
      ? { port: String(port) }
      : {
          port: '0',
          'tls-port': String(port),
          'tls-cert-file': tls.certificate,
          'tls-key-file': tls.key,
          'tls-auth-clients': 'no',
        };
  let child: ChildProcess = await launch(listening, folder);
  return {
    url: `${tls === undefined ? 'redis' : 'rediss'}://127.0.0.1:${port}`,
    port,
    kill: () => endChild(child, 'SIGKILL'),
    start: async () => {
      child = await launch(listening, folder);
    },
    command: (...words) => sendCommand(port, words),
    stop: async () => {
      await endChild(child, 'SIGTERM');
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function launch(
  listening: Readonly<Record<string, string>>,
  folder: string,
): Promise<ChildProcess> {
  const settings = {
    ...listening,
    bind: '127.0.0.1',
    dir: folder,
    save: '',
    appendonly: 'no',
    daemonize: 'no',
    'maxmemory-policy': 'noeviction',
  };
  const child = spawn(
    'redis-server',
    Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
    { stdio: ['ignore', 'pipe', 'inherit'], cwd: folder },
  );
  track(child);
  const said: string[] = [];
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`redis-server did not start:\n${said.join('\n')}`)));
    createInterface({ input: child.stdout }).on('line', (line) => {
      said.push(line);
      if (/ready to accept connections/i.test(line)) resolve();
    });
  });
  return child;
}

async function sendCommand(port: number, words: readonly string[]): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
  socket.write(`*${words.length}\r\n${parts.join('')}`);
  try {
    for await (const line of createInterface({ input: socket })) return line;
  } finally {
    socket.destroy();
  }
  throw new Error(`redis closed the connection on ${words.join(' ')}`);
}
