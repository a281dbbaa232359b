/**
 * Runs the suites that depend on the server's behaviour on the oldest supported Postgres, a private one from the
 * system's binaries. Without these it prints that it is skipped.
 * Usage: node --import tsx test/compat/run.ts [arguments of vitest]
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { asUser, chooseRunUser } from '../../src/db/embedded/user.ts';
import { endChild, freePort, track } from '../support/children.ts';

const oldest = 15;
/** Debian and Ubuntu, the RPM of postgresql.org, Homebrew. */
const places = [
  `/usr/lib/postgresql/${oldest}/bin`,
  `/usr/pgsql-${oldest}/bin`,
  `/opt/homebrew/opt/postgresql@${oldest}/bin`,
];
const suites = ['budget', 'jobs', 'queues', 'scheduler', 'schedules', 'tenancy', 'worker'].map(
  (folder) => `test/${folder}/`,
);

async function runOn(bin: string): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'purser-compat-'));
  const user = await chooseRunUser(folder);
  if (user !== null) await chown(folder, user.uid, user.gid);
  await chmod(folder, 0o700);
  const data = join(folder, 'data');
  try {
    const made = spawnSync(
      join(bin, 'initdb'),
      [
        '--pgdata',
        data,
        '--username',
        'postgres',
        '--auth',
        'trust',
        '--no-sync',
        '--encoding=UTF8',
      ],
      { ...asUser(user), encoding: 'utf8' },
    );
    if (made.status !== 0) throw new Error(`initdb failed: ${made.stderr}`);
    const port = await freePort();
    const settings = {
      port: String(port),
      listen_addresses: '127.0.0.1',
      unix_socket_directories: '',
      fsync: 'off',
      max_connections: '300',
      shared_buffers: '256MB',
      autovacuum_naptime: '5s',
    };
    const server = spawn(
      join(bin, 'postgres'),
      [
        '-D',
        data,
        ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
      ],
      { ...asUser(user), stdio: ['ignore', 'ignore', 'ignore'] },
    );
    track(server);
    const ready = ['--host', '127.0.0.1', '--port', String(port)];
    while (spawnSync(join(bin, 'pg_isready'), ready).status !== 0) {
      if (server.exitCode !== null) throw new Error(`Postgres ended with ${server.exitCode}`);
      await sleep(50);
    }
    const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
    const more = process.argv.slice(2);
    const vitest = spawn(
      process.execPath,
      [
        'node_modules/vitest/vitest.mjs',
        'run',
        '--passWithNoTests',
        // `npm run test:all` runs each file in a process of its own; here the server is what is tested.
        '--no-isolate',
        ...(more.length > 0 ? more : suites),
      ],
      { stdio: 'inherit', env: { ...process.env, PURSER_TEST_POSTGRES_URL: url } },
    );
    track(vitest);
    const code = await new Promise<number>((resolve) => {
      vitest.once('exit', (status) => resolve(status ?? 1));
    });
    await endChild(server, 'SIGINT');
    return code;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const bin = places.find((place) => existsSync(join(place, 'initdb')));
if (bin === undefined) {
  process.stderr.write(
    `SKIPPED: no Postgres ${oldest} on this machine, so nothing runs on it (Debian: apt-get install postgresql-${oldest})\n`,
  );
} else {
  process.exitCode = await runOn(bin);
}
