/**
 * A PgBouncer in front of the Postgres of the test run. Without the program its suites are skipped with a message;
 * under CI they fail.
 */
import { spawn, spawnSync } from 'node:child_process';
import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, inject } from 'vitest';
import { chooseRunUser } from '../../../src/db/embedded/user.ts';
import { endChild, freePort, track } from '../../support/children.ts';
import type { TestDatabase } from '../../support/database.ts';

// Debian installs it in /usr/sbin, which is not on every user's PATH.
const searchPath = `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/local/sbin`;
const available = spawnSync('pgbouncer', ['--version'], { env: { PATH: searchPath } }).status === 0;

if (!available) {
  const missing =
    'no pgbouncer on this machine, so suites through it do not run (Debian: apt-get install pgbouncer)';
  if (process.env['CI'] === 'true') throw new Error(`${missing}; CI must run them`);
  process.stderr.write(`SKIPPED: ${missing}\n`);
}

/** `describe` for a suite that needs PgBouncer. */
// oxlint-disable-next-line vitest/valid-title, vitest/valid-describe-callback -- defines no suite
export const describeThroughPgBouncer = describe.skipIf(!available);

export interface TestPgBouncer {
  /** The same login and database, by way of PgBouncer. */
  through(url: string): string;
  stop(): Promise<void>;
}

interface Pooling {
  readonly mode: 'transaction' | 'session';
  /** Server connections per login and database. */
  readonly size: number;
}

export async function startPgBouncer(pooling: Pooling): Promise<TestPgBouncer> {
  const server = inject('testPostgres');
  const folder = await mkdtemp(join(tmpdir(), 'purser-pgbouncer-'));
  const port = await freePort();
  const logins = ['purser_app', 'purser_app_tenant', 'purser_plain'];
  const users = join(folder, 'users.txt');
  const settings = join(folder, 'pgbouncer.ini');
  await writeFile(users, logins.map((login) => `"${login}" "${server.password}"\n`).join(''));
  await writeFile(
    settings,
    `[databases]
* = host=${server.host} port=${server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${users}
pool_mode = ${pooling.mode}
default_pool_size = ${pooling.size}
max_client_conn = 200
`,
  );
  // It refuses to run as root.
  const user = await chooseRunUser(folder);
  if (user !== null) {
    for (const path of [folder, users, settings]) await chown(path, user.uid, user.gid);
  }
  const child = spawn('pgbouncer', [settings], {
    stdio: ['ignore', 'ignore', 'pipe'],
    cwd: folder,
    env: { PATH: searchPath },
    ...(user === null ? {} : { uid: user.uid, gid: user.gid }),
  });
  track(child);
  const said: string[] = [];
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`pgbouncer did not start:\n${said.join('\n')}`)));
    createInterface({ input: child.stderr }).on('line', (line) => {
      said.push(line);
      if (/process up/.test(line)) resolve();
    });
  });
  return {
    through: (url) => {
      const address = new URL(url);
      address.hostname = '127.0.0.1';
      address.port = String(port);
      return address.href;
    },
    stop: async () => {
      await endChild(child, 'SIGTERM');
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Counts the server connections of a fleet, without those of its queues, at each call of `look`. */
export function watchPooled({ sql, name }: Pick<TestDatabase, 'sql' | 'name'>) {
  let most = 0;
  return {
    most: () => most,
    look: async (): Promise<void> => {
      const [row] = await sql<{ pooled: number }[]>`
        select count(*)::int as pooled from pg_stat_activity
        where datname = ${name} and application_name like 'purser %'
          and application_name not like '% queues' and application_name not like 'purser test%'`;
      most = Math.max(most, row?.pooled ?? 0);
    },
  };
}
