/** A Postgres and a Redis for the benchmark, with ports and folders of their own, removed at the end. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { connect } from '../../src/db/connect.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import { endChild, freePort, track } from '../../test/support/children.ts';

export interface Servers {
  readonly postgresVersion: string;
  readonly bootstrapUrl: string;
  readonly postgresPid: number;
  readonly redisUrl: string;
  readonly redisVersion: string;
  readonly redisPid: number;
  /** Makes an empty database and returns its URL. */
  database(name: string): Promise<string>;
  stop(): Promise<void>;
}

/** fsync and synchronous_commit are on: accepted work is on disk. */
export const postgresSettings = {
  shared_buffers: '256MB',
  max_wal_size: '4GB',
  max_connections: '100',
} as const;
export const redisSettings = { save: '', appendonly: 'no', 'maxmemory-policy': 'noeviction' };

/** `settings` are further ones of Postgres. */
export async function startServers(
  settings: Readonly<Record<string, string>> = {},
): Promise<Servers> {
  const folder = await mkdtemp(join(tmpdir(), 'purser-bench-'));
  const postgres = await startEmbeddedPostgres({
    dataDir: join(folder, 'postgres'),
    settings: { ...postgresSettings, ...settings },
  });
  const redis = await startRedis(join(folder)).catch(async (error: unknown) => {
    await postgres.stop();
    throw error;
  });
  const admin = connect(postgres.bootstrapUrl, { max: 1, applicationName: 'bench setup' });
  const [row] = await admin<{ pid: number }[]>`select pg_backend_pid() as pid`;
  const { pathname, username } = new URL(postgres.url);
  return {
    postgresVersion: postgres.version,
    bootstrapUrl: postgres.bootstrapUrl,
    postgresPid: parentOf(row?.pid ?? 0),
    redisUrl: redis.url,
    redisVersion: redis.version,
    redisPid: redis.child.pid ?? 0,
    database: async (name) => {
      await admin`create database ${admin(name)} owner ${admin(username)}`;
      return postgres.url.replace(new RegExp(`${pathname}$`), `/${name}`);
    },
    stop: async () => {
      await admin.end({ timeout: 5 });
      await endChild(redis.child, 'SIGTERM');
      await postgres.stop();
      await rm(postgres.dataDir, { recursive: true, force: true });
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function parentOf(pid: number): number {
  return Number(/PPid:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
}

async function startRedis(folder: string) {
  const port = await freePort();
  const settings = { ...redisSettings, port: String(port), bind: '127.0.0.1', dir: folder };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  const child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'], cwd: folder });
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
  const version = /version=([\d.]+)/i.exec(said.join('\n'))?.[1] ?? 'unknown';
  return { child, url: `redis://127.0.0.1:${port}`, version };
}
