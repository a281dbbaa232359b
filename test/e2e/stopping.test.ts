/** After a signal a role stops in order with exit code 0 and leaves no process behind. */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { startCli } from '../support/process.ts';
import { startRole, untilNoneRunsIn } from './fleet.ts';

let database: TestDatabase;
let folder: string;
beforeAll(async () => {
  database = await freshDatabase();
  folder = await mkdtemp(join(tmpdir(), 'purser-stop-'));
  await chmod(folder, 0o711);
});
afterAll(async () => {
  await database.close();
  await rm(folder, { recursive: true });
});

it.each(['scheduler', 'worker', 'web'])(
  'ends a %s on SIGTERM sent twice and SIGINT',
  async (role) => {
    const started = await startRole(role, { DATABASE_URL: database.url, PORT: '0' });
    started.signal('SIGTERM');
    started.signal('SIGTERM');
    started.signal('SIGINT');
    const { code, stderr } = await started.waitForExit();
    expect(code).toBe(0);
    expect(stderr.match(/"event":"stopping"/g)).toHaveLength(1);
    expect(stderr).not.toContain('close_failed');
  },
);

it('ends on SIGTERM during a start that waits for a database that does not answer', async () => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => {
    sockets.push(socket.on('error', () => {}));
  });
  const connected = once(silent, 'connection');
  await new Promise<void>((resolve) => {
    silent.listen(0, '127.0.0.1', resolve);
  });
  const address = silent.address();
  const port = typeof address === 'object' ? address?.port : 0;
  const started = startCli(['start', 'worker'], {
    env: { DATABASE_URL: `postgres://u:p@127.0.0.1:${port}/x` },
  });
  await connected;
  started.signal('SIGTERM');
  expect(await started.waitForExit()).toMatchObject({ code: 0 });
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => {
    silent.close(resolve);
  });
});

it('ends `start all` with its embedded Postgres, leaving no process', async () => {
  const env = { PURSER_DATA_DIR: join(folder, 'data'), PORT: '0' };
  const started = await startRole('all', env, folder);
  expect(started.stderr.join('\n')).toContain('password for this start:');
  expect(started.stderr.join('\n')).toMatch(
    /to use purser in another terminal:\n {2}export DATABASE_URL=postgres:\S+ PURSER_DATA_DIR=/,
  );
  started.signal('SIGINT');
  started.signal('SIGTERM');
  expect(await started.waitForExit()).toMatchObject({ code: 0 });
  await untilNoneRunsIn(folder);
}, 60_000);

it('ends `start all` on SIGTERM while its embedded Postgres starts, leaving no process', async () => {
  const env = { PURSER_DATA_DIR: join(folder, 'early'), PORT: '0' };
  const started = startCli(['start', 'all'], { env, cwd: folder });
  await started.waitForLine(/^Postgres .* on 127\.0\.0\.1/);
  started.signal('SIGTERM');
  expect(await started.waitForExit({ timeoutMs: 60_000 })).toMatchObject({ code: 0 });
  await untilNoneRunsIn(folder);
}, 90_000);
