/** A role that npm or npx starts: SIGTERM to npm alone lets the worker end its job, and leaves no process. */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { enqueue } from '../../src/jobs/enqueue.ts';
import { startRole, stopAll } from '../e2e/fleet.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { endChild, hasExited, track } from '../support/children.ts';
import { addTenant } from '../support/tenants.ts';

const entry = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

const handlers = `export const handlers = [{
  type: 'slow_step', timeoutMs: 60000, maxAttempts: 1,
  run: async () => { await new Promise((done) => setTimeout(done, 3000)); return { ended: true }; },
}];`;

let test: TestDatabase;
let folder: string;
beforeAll(async () => {
  test = await freshDatabase();
  folder = await mkdtemp(join(tmpdir(), 'purser-npm-'));
  await writeFile(join(folder, 'handlers.mjs'), handlers);
  const scripts = { start: `node ${entry} start worker` };
  await writeFile(join(folder, 'package.json'), JSON.stringify({ name: 'app', scripts }));
  await mkdir(join(folder, 'node_modules', '.bin'), { recursive: true });
  const bin = join(folder, 'node_modules', '.bin', 'purser');
  await writeFile(bin, `#!/bin/sh\nexec node ${entry} "$@"\n`, { mode: 0o755 });
});
afterAll(async () => {
  await test.close();
  await rm(folder, { recursive: true, force: true });
});

async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  for (const deadline = Date.now() + 30_000; Date.now() < deadline; await sleep(100)) {
    const found = await look();
    if (found !== undefined) return found;
  }
  throw new Error(`${what}: not within 30 s`);
}

const pidOfWorker = async (): Promise<number | undefined> => {
  const [row] = await test.sql<{ pid: number }[]>`
    select pid from heartbeats where role = 'worker'`;
  return row?.pid;
};

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

it.each([
  ['npm', ['start']],
  ['npx', ['purser', 'start', 'worker']],
])(
  'SIGTERM to %s drains the worker below it',
  async (command, args) => {
    const { sql } = test;
    const env = { DATABASE_URL: test.url, PURSER_HANDLERS: join(folder, 'handlers.mjs') };
    const tenantId = await addTenant(sql);
    const scheduler = await startRole('scheduler', env);
    const npm = spawn(command, args, {
      cwd: folder,
      env: { PATH: process.env['PATH'], HOME: folder, npm_config_update_notifier: 'false', ...env },
      stdio: 'ignore',
    });
    track(npm);
    try {
      const pid = await until('the worker', pidOfWorker);
      expect(pid).not.toBe(npm.pid);
      const { jobId } = await enqueue(sql, { tenantId, jobType: 'slow_step', payload: {} });
      const stateOf = async () => {
        const [job] = await sql<{ state: string; attempt: number }[]>`
          select state, attempt from background_jobs where id = ${jobId}`;
        return job;
      };
      await until('the start of the job', async () =>
        (await stateOf())?.state === 'running' ? true : undefined,
      );
      npm.kill('SIGTERM');
      const ended = await until('the end of the job', async () => {
        const job = await stateOf();
        return job?.state === 'running' ? undefined : job;
      });
      expect(ended).toEqual({ state: 'completed', attempt: 1 });
      await until('the end of the worker', async () => (isAlive(pid) ? undefined : true));
      expect(await stopAll([scheduler])).toEqual([0]);
    } finally {
      await scheduler.kill();
      if (!hasExited(npm)) await endChild(npm, 'SIGKILL');
      await sql`delete from heartbeats`;
    }
  },
  90_000,
);

it('a worker that a shell started outlives that shell', async () => {
  const { sql } = test;
  const shell = spawn('sh', ['-c', `node ${entry} start worker & sleep 3`], {
    env: { PATH: process.env['PATH'], HOME: folder, DATABASE_URL: test.url },
    stdio: 'ignore',
  });
  track(shell);
  const pid = await until('the worker', pidOfWorker);
  try {
    await until('the end of the shell', async () => (hasExited(shell) ? true : undefined));
    await sleep(1_000);
    expect(isAlive(pid)).toBe(true);
    const [row] = await sql`
      select from heartbeats where pid = ${pid} and beat_at > now() - interval '5 seconds'`;
    expect(row).toBeDefined();
  } finally {
    process.kill(pid, 'SIGTERM');
    await until('the end of the worker', async () => (isAlive(pid) ? undefined : true));
  }
});
