/** A worker whose output cannot be written (ENOSPC) loses lines and no job. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, openSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { enqueue } from '../../src/jobs/enqueue.ts';
import { endChild, hasExited, track } from '../support/children.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import { startRole, stopAll, untilAllEnded } from './fleet.ts';

const handlers = `
const h = (type, run) => ({ type, timeoutMs: 5_000, maxAttempts: 1, run });
export const handlers = [
  h('talks', async ({ log }) => {
    for (let n = 0; n < 200; n += 1) {
      console.log('out', n, 'x'.repeat(2_000));
      console.error('err', n);
      log.info({ n }, 'said');
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return 'done';
  }),
  h('fails', async () => { throw new Error('real reason ' + 'm'.repeat(10_000_000)); }),
];
`;

let database: TestDatabase;
let folder: string;
let worker: ChildProcess | undefined;
beforeAll(async () => {
  database = await freshDatabase();
  folder = await mkdtemp(join(tmpdir(), 'purser-full-disk-'));
  await writeFile(join(folder, 'handlers.mjs'), handlers);
});
afterAll(async () => {
  if (worker !== undefined && !hasExited(worker)) await endChild(worker, 'SIGKILL');
  await database.close();
  await rm(folder, { recursive: true });
});

it.runIf(existsSync('/dev/full'))(
  'stdout and stderr on a full disk: jobs complete, a failure keeps its reason, and the worker goes on',
  async () => {
    const tenantId = await addTenant(database.sql);
    await database.sql`update tenant_schedules set enabled = false`;
    const env = { DATABASE_URL: database.url, PURSER_HANDLERS: join(folder, 'handlers.mjs') };
    const scheduler = await startRole('scheduler', env);
    const full = openSync('/dev/full', 'w');
    const cli = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
    const child = spawn(process.execPath, [cli, 'start', 'worker'], {
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'], TMPDIR: tmpdir(), ...env },
      stdio: ['ignore', full, full],
    });
    worker = child;
    track(child);
    const types = async () => {
      const rows = await database.sql`select from job_types where job_type in ('talks', 'fails')`;
      return rows.length;
    };
    await expect.poll(types, { timeout: 20_000 }).toBe(2);
    for (const jobType of ['talks', 'talks', 'fails', 'talks']) {
      await enqueue(database.sql, { tenantId, jobType });
    }
    expect(await untilAllEnded(database.sql)).toEqual({ completed: 3, dead_letter: 1 });
    const [failed] = await database.sql`
      select error->>'code' as code, left(error->>'message', 11) as message
      from background_jobs where job_type = 'fails'`;
    expect(failed).toEqual({ code: 'error', message: 'real reason' });
    const [lost] = await database.sql`select from background_jobs where losses > 0 or attempt <> 1`;
    expect([lost, child.exitCode, child.signalCode]).toEqual([undefined, null, null]);
    child.kill('SIGTERM');
    await expect.poll(() => child.exitCode, { timeout: 30_000 }).toBe(0);
    await stopAll([scheduler]);
  },
  120_000,
);
