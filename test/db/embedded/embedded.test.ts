import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { connect } from '../../../src/db/connect.ts';
import { startEmbeddedPostgres } from '../../../src/db/embedded/embedded.ts';
import type { EmbeddedPostgres } from '../../../src/db/embedded/embedded.ts';
import { isAlive } from '../../../src/db/embedded/owner.ts';
import { isPostmasterOf, readPostmasterFile } from '../../../src/db/embedded/postmaster.ts';
import { chooseRunUser } from '../../../src/db/embedded/user.ts';
import { endChild, track } from '../../support/children.ts';

/** For a copy of the binaries, if Postgres' user cannot reach this checkout. */
const relocationRoots = [join(tmpdir(), 'purser-postgres')];

let dataDir: string;
let running: EmbeddedPostgres[] = [];

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'purser-embedded-'));
  await chmod(dataDir, 0o711);
});

afterEach(async () => {
  for (const server of running) await server.stop();
  running = [];
  await rm(dataDir, { recursive: true, force: true });
});

async function start(): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres({ dataDir, relocationRoots });
  running.push(server);
  return server;
}

/** A child process that starts the folder's Postgres and waits. */
async function startParent(): Promise<{ child: ChildProcess; url: string; clusterDir: string }> {
  const script = fileURLToPath(new URL('parent.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', script, dataDir, ...relocationRoots], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  track(child);
  const line = await new Promise<string>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the parent ended with ${code}`)));
    createInterface({ input: child.stdout }).once('line', resolve);
  });
  const said: { url: string; dataDir: string } = JSON.parse(line);
  return { child, url: said.url, clusterDir: said.dataDir };
}

async function query<T>(url: string, run: (sql: ReturnType<typeof connect>) => Promise<T>) {
  const sql = connect(url, { max: 1, applicationName: 'embedded test' });
  try {
    return await run(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

const writeNote = (url: string) =>
  query(url, async (sql) => {
    await sql`create table note (text text)`;
    await sql`insert into note values ('kept')`;
  });
const readNotes = (url: string) =>
  query(url, async (sql) =>
    (await sql<{ text: string }[]>`select text from note`).map((r) => r.text),
  );

async function postmasterOf(clusterDir: string): Promise<number> {
  const file = await readPostmasterFile(clusterDir);
  if (file === null) throw new Error('no postmaster.pid');
  return file.pid;
}

async function parentOf(pid: number): Promise<number> {
  const { stdout } = await promisify(execFile)('ps', ['-o', 'ppid=', '-p', String(pid)]);
  return Number(stdout);
}

const gone = (pid: number) =>
  vi.waitFor(async () => expect(await isAlive(pid)).toBe(false), { timeout: 20_000 });

const serverLog = () => readFile(join(dataDir, 'postgres', 'postgres.log'), 'utf8');

it('creates a login that owns its database, may create roles and is not a superuser', async () => {
  const server = await start();
  const rows = await query(
    server.url,
    (sql) => sql`
      select r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolbypassrls,
             pg_get_userbyid(d.datdba) = current_user as owner
      from pg_roles r, pg_database d
      where r.rolname = current_user and d.datname = current_database()`,
  );
  expect(rows[0]).toEqual({
    rolsuper: false,
    rolcreaterole: true,
    rolcreatedb: false,
    rolbypassrls: false,
    owner: true,
  });
  const wrong = new URL(server.url);
  wrong.password = 'wrong';
  await expect(query(wrong.href, (sql) => sql`select 1`)).rejects.toThrow(/password/);
});

it('keeps committed rows over a restart', async () => {
  const first = await start();
  await writeNote(first.url);
  await first.stop();
  const second = await start();
  expect(await readNotes(second.url)).toEqual(['kept']);
});

it('shuts Postgres down cleanly when its parent is killed with kill -9', async () => {
  const parent = await startParent();
  await writeNote(parent.url);
  const postmaster = await postmasterOf(parent.clusterDir);
  await endChild(parent.child, 'SIGKILL');
  await gone(postmaster);
  const second = await start();
  expect(await readNotes(second.url)).toEqual(['kept']);
  expect(await serverLog()).not.toContain('was not properly shut down');
});

it('starts while the Postgres of a killed parent is still shutting down', async () => {
  const parent = await startParent();
  await writeNote(parent.url);
  await endChild(parent.child, 'SIGKILL');
  const second = await start();
  expect(await readNotes(second.url)).toEqual(['kept']);
});

it('replaces a postmaster that lost both its guardian and its parent to kill -9', async () => {
  const parent = await startParent();
  await writeNote(parent.url);
  const postmaster = await postmasterOf(parent.clusterDir);
  process.kill(await parentOf(postmaster), 'SIGKILL');
  await endChild(parent.child, 'SIGKILL');
  expect(await isPostmasterOf(postmaster, parent.clusterDir)).toBe(true);
  const second = await start();
  expect(await isAlive(postmaster)).toBe(false);
  expect(await readNotes(second.url)).toEqual(['kept']);
});

it('stops the postmaster itself when its guardian was killed with kill -9', async () => {
  const server = await start();
  await writeNote(server.url);
  const postmaster = await postmasterOf(server.dataDir);
  const guardian = await parentOf(postmaster);
  process.kill(guardian, 'SIGKILL');
  await gone(guardian);
  expect(await readNotes(server.url)).toEqual(['kept']);
  await server.stop();
  expect(await isAlive(postmaster)).toBe(false);
});

it('restarts a postmaster that was killed with kill -9 on the same port', async () => {
  const server = await start();
  await writeNote(server.url);
  const postmaster = await postmasterOf(server.dataDir);
  process.kill(postmaster, 'SIGKILL');
  await vi.waitFor(async () => expect(await readNotes(server.url)).toEqual(['kept']), {
    timeout: 20_000,
    interval: 100,
  });
  expect(await postmasterOf(server.dataDir)).not.toBe(postmaster);
});

it('recovers when parent, guardian and postmaster were all killed with kill -9', async () => {
  const parent = await startParent();
  await writeNote(parent.url);
  const postmaster = await postmasterOf(parent.clusterDir);
  const guardian = await parentOf(postmaster);
  const pids = [parent.child.pid ?? 0, guardian, postmaster];
  for (const pid of pids) process.kill(pid, 'SIGKILL');
  await Promise.all(pids.map(gone));
  const second = await start();
  expect(await readNotes(second.url)).toEqual(['kept']);
  expect(await serverLog()).toContain('was not properly shut down');
});

it('keeps running when signals of a terminal or platform reach its guardian', async () => {
  const server = await start();
  const guardian = await parentOf(await postmasterOf(server.dataDir));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(guardian, signal);
  await writeNote(server.url);
  expect(await readNotes(server.url)).toEqual(['kept']);
  expect(await isAlive(guardian)).toBe(true);
});

it('starts despite a stale postmaster.pid whose pid now belongs to an unrelated process', async () => {
  const first = await start();
  await writeNote(first.url);
  const pidFile = join(first.dataDir, 'postmaster.pid');
  const lines = (await readFile(pidFile, 'utf8')).split('\n');
  await first.stop();
  const user = await chooseRunUser(first.dataDir);
  // As Postgres' user, because Postgres ignores the process of another user.
  const stranger = spawn('sleep', ['600'], {
    ...(user === null ? {} : { uid: user.uid, gid: user.gid }),
    stdio: 'ignore',
  });
  track(stranger);
  await writeFile(pidFile, [String(stranger.pid), ...lines.slice(1)].join('\n'));
  const second = await start();
  expect(await readNotes(second.url)).toEqual(['kept']);
  expect(await isAlive(stranger.pid ?? 0)).toBe(true);
  await endChild(stranger, 'SIGKILL');
});

it('refuses a second owner of the folder, naming the folder and the process', async () => {
  const parent = await startParent();
  await expect(start()).rejects.toMatchObject({
    code: 'data_folder_in_use',
    exitCode: 69,
    message: expect.stringMatching(new RegExp(`${dataDir}.* process ${parent.child.pid}\\b`)),
  });
  expect(await query(parent.url, (sql) => sql`select 1 as up`)).toHaveLength(1);
  const postmaster = await postmasterOf(parent.clusterDir);
  await endChild(parent.child, 'SIGKILL');
  await gone(postmaster);
});

it('refuses an existing cluster whose passwords are missing', async () => {
  const first = await start();
  await first.stop();
  await rm(join(dataDir, 'postgres', 'passwords.json'));
  await expect(start()).rejects.toMatchObject({ code: 'data_folder_damaged' });
});

it("reports Postgres' log when it does not start, and releases the folder", async () => {
  const broken = startEmbeddedPostgres({
    dataDir,
    relocationRoots,
    settings: { shared_buffers: 'much' },
  });
  await expect(broken).rejects.toMatchObject({
    code: 'embedded_postgres_failed',
    message: expect.stringMatching(/invalid value for parameter "shared_buffers"/),
  });
  await start();
});
