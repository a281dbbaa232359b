/** A role that gets SIGTERM or SIGINT at any moment, once or repeatedly, exits with code 0. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { startCli } from '../support/process.ts';
import type { CliProcess } from '../support/process.ts';
import { startRole } from './fleet.ts';

const roles = ['scheduler', 'worker', 'web'] as const;
/** Together they cover loading, opening the database, starting and running. */
const momentsMs = [0, 3, 10, 30, 60, 100, 150, 220, 300, 400, 550, 700, 1_000, 1_500];
const preload = `--import ${new URL('report-listening.mjs', import.meta.url).href}`;

let database: TestDatabase;
let env: Record<string, string>;
beforeAll(async () => {
  database = await freshDatabase();
  env = { DATABASE_URL: database.url, PORT: '0' };
});
afterAll(() => database.close());

const startListening = async (role: string): Promise<CliProcess> => {
  const started = startCli(['start', role], { env: { ...env, NODE_OPTIONS: preload } });
  await started.waitForLine(/^listening$/);
  return started;
};

it('ends on a signal at any moment after the handlers are installed', async () => {
  for (const [index, ms] of momentsMs.entries()) {
    const role = roles[index % roles.length] ?? 'web';
    const started = await startListening(role);
    await sleep(ms);
    started.signal(index % 2 === 0 ? 'SIGTERM' : 'SIGINT');
    const { code, signal, stderr } = await started.waitForExit();
    expect({ role, ms, code, signal }).toEqual({ role, ms, code: 0, signal: null });
    expect(stderr).not.toMatch(/_failed|Error/);
  }
}, 120_000);

it('starts nothing when the signal arrives before its modules are loaded', async () => {
  const started = await startListening('worker');
  started.signal('SIGTERM');
  const { code, stdout, stderr } = await started.waitForExit();
  expect([code, stdout, stderr]).toEqual([0, '', 'listening']);
});

it('installs signal handlers before it loads other modules', () => {
  const importsOf = (path: string): string[] =>
    [
      ...readFileSync(join(import.meta.dirname, '../../src', path), 'utf8').matchAll(
        /^import (?!type).* from '(.+)'/gm,
      ),
    ].map(([, specifier]) => specifier ?? '');
  const first = ['../process/lifecycle.ts', '../process/parent-watch.ts'];
  expect(importsOf('cli/main.ts')).toEqual(first);
  for (const path of first) expect(importsOf(path.slice('../'.length))).toEqual([]);
});

it('ends by the signal itself or with 0 while Node starts', async () => {
  for (let ms = 0; ms <= 120; ms += 15) {
    const started = startCli(['start', 'scheduler'], { env });
    await sleep(ms);
    started.signal('SIGTERM');
    const { code, signal, stdout } = await started.waitForExit();
    expect([0, 'SIGTERM']).toContain(code ?? signal);
    expect(stdout).toBe('');
  }
}, 60_000);

it.each(roles)(
  'stops a %s in order under many signals',
  async (role) => {
    for (const begin of [startListening, (name: string) => startRole(name, env)]) {
      const started = await begin(role);
      const hail = setInterval(() => {
        started.signal('SIGTERM');
        started.signal('SIGINT');
      }, 2);
      const exit = await started.waitForExit().finally(() => clearInterval(hail));
      expect([exit.code, exit.signal]).toEqual([0, null]);
      expect(exit.stderr).not.toMatch(/close_failed|close_abandoned/);
    }
  },
  60_000,
);

it('other commands end by the signal, like any command line tool', async () => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => {
    sockets.push(socket.on('error', () => {}));
  });
  const connected = once(silent, 'connection');
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const address = silent.address();
  const port = address !== null && typeof address === 'object' ? address.port : 0;
  const started = startCli(['jobs', 'list'], {
    env: { DATABASE_URL: `postgres://u:p@127.0.0.1:${port}/x` },
  });
  await connected;
  started.signal('SIGTERM');
  expect(await started.waitForExit()).toMatchObject({ code: null, signal: 'SIGTERM' });
  for (const socket of sockets) socket.destroy();
  silent.close();
});
