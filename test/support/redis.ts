/**
 * A Redis of its own for a test file: own port, own folder, nothing persisted. Without a
 * redis-server the suites on Redis are skipped aloud; under CI the run fails before it starts.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
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
  /** Ends it and removes its folder. */
  stop(): Promise<void>;
}

/** Starts a Redis as production should have it (`noeviction`), without persistence. */
export async function startRedis(): Promise<TestRedis> {
  const folder = await mkdtemp(join(tmpdir(), 'purser-redis-'));
  const port = await freePort();
  let child: ChildProcess = await launch(port, folder);
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    kill: () => endChild(child, 'SIGKILL'),
    start: async () => {
      child = await launch(port, folder);
    },
    stop: async () => {
      await endChild(child, 'SIGTERM');
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function launch(port: number, folder: string): Promise<ChildProcess> {
  const settings = {
    port: String(port),
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
