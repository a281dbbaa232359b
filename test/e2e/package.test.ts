/**
 * The package in another project: packed, unpacked into an empty project, types checked, and a job enqueued in
 * the project's own transaction and run by the project's own handler.
 */
import { execFile } from 'node:child_process';
import {
  access,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { driverMark } from '../../src/db/driver.ts';
import { emptyDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { startNode } from '../support/process.ts';
import type { CliProcess } from '../support/process.ts';
import { copyPublishedDriver } from '../support/published-driver.ts';
import { untilAllEnded } from './fleet.ts';
import {
  application,
  commonJsConsumer,
  esmConsumer,
  handlersModule,
  typedConfig,
  typedSource,
} from './package-project.ts';

const run = promisify(execFile);
const modules = resolve('node_modules');

let database: TestDatabase;
let project: string;
let env: Record<string, string>;
beforeAll(async () => {
  database = await emptyDatabase();
  project = await mkdtemp(join(tmpdir(), 'purser-project-'));
  await installPacked();
  await Promise.all([
    writeFile(join(project, 'package.json'), JSON.stringify({ name: 'shop', type: 'module' })),
    writeFile(join(project, 'my-handlers.mjs'), handlersModule),
    writeFile(join(project, 'app.mjs'), application),
    writeFile(join(project, 'typed.ts'), typedSource),
    writeFile(join(project, 'tsconfig.json'), JSON.stringify(typedConfig)),
  ]);
  env = { DATABASE_URL: database.url, PURSER_HANDLERS: './my-handlers.mjs', PORT: '0' };
}, 120_000);
afterAll(async () => {
  await rm(project, { recursive: true, force: true });
  await database.close();
});

/** Installs the package without a registry, like `npm install purser-0.1.0.tgz`: dependencies are those of this clone. */
async function installPacked(): Promise<void> {
  const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', project];
  await run('npm', pack, { maxBuffer: 16 * 1024 * 1024 });
  const tarball = (await readdir(project)).find((name) => name.endsWith('.tgz')) ?? '';
  const home = join(project, 'node_modules', 'purser');
  await mkdir(home, { recursive: true });
  await run('tar', ['xzf', join(project, tarball), '-C', home, '--strip-components=1']);
  await rm(join(project, tarball));
  const manifest: { dependencies: Record<string, string> } = JSON.parse(
    await readFile(join(home, 'package.json'), 'utf8'),
  );
  // The project's own driver is the published one: what purser runs has to be the copy that it carries.
  await copyPublishedDriver(join(project, 'node_modules', 'postgres'));
  const linked = Object.keys(manifest.dependencies).filter((name) => name !== 'postgres');
  for (const name of [...linked, '@types/node', 'undici-types']) {
    const link = join(project, 'node_modules', name);
    await mkdir(dirname(link), { recursive: true });
    await symlink(join(modules, name), link);
  }
}

/** Runs the file that `bin` names, like `npx purser`. */
function purser(...args: string[]): CliProcess {
  const bin = join(project, 'node_modules', 'purser', 'dist', 'cli', 'main.js');
  return startNode([bin, ...args], `npx purser ${args.join(' ')}`, { cwd: project, env });
}

it('carries what it needs at run time, the patched driver too, and nothing of its development', async () => {
  const home = join(project, 'node_modules', 'purser');
  const drivers = [join(home, 'node_modules'), modules].map((folder) => join(folder, 'postgres'));
  for (const path of ['src', 'cjs/src'].flatMap((f) => [`${f}/connection.js`, `${f}/index.js`])) {
    const [carried, clone] = await Promise.all(
      drivers.map((folder) => readFile(join(folder, path), 'utf8')),
    );
    expect(carried).toBe(clone);
  }
  const { files }: { files: string[] } = JSON.parse(await readFile('package.json', 'utf8'));
  expect((await readdir(home)).toSorted()).toEqual(
    [...files, 'node_modules', 'package.json'].toSorted(),
  );
  expect(files).not.toContain('src');
  expect(await readdir(join(home, 'node_modules'))).toEqual(['postgres']);
});

it.each([
  ['ES module', 'consumer.mjs', esmConsumer],
  ['CommonJS module', 'consumer.cjs', commonJsConsumer],
])('runs its own, patched driver for a consumer that is a %s', async (_, file, source) => {
  await writeFile(join(project, file), source);
  const consumer = startNode([file], file, { cwd: project, env });
  expect(await consumer.waitForExit()).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(consumer.stdout.join(''))).toEqual({
    enqueue: 'function',
    own: null,
    purser: { esm: driverMark, commonJs: driverMark },
  });
});

it('contains every page that its README links to', async () => {
  const home = join(project, 'node_modules', 'purser');
  const readme = await readFile(join(home, 'README.md'), 'utf8');
  const links = [...readme.matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map(([, path]) => path ?? '');
  expect(links).toContain('docs/handlers.md');
  await Promise.all([...links, 'examples/enqueue.sql'].map((link) => access(join(home, link))));
});

it('accepts jobs in a transaction of the project and runs them with its handler', async () => {
  expect(await purser('migrate', 'up').waitForExit()).toMatchObject({ code: 0, stderr: '' });
  expect(await purser('tenants', 'add', 'acme').waitForExit()).toMatchObject({ code: 0 });
  // Starting registers the handlers' job types, which the application's enqueue needs.
  const fleet = purser('start', 'all');
  await fleet.waitForLine(/^purser all is running/);
  const accepted = await startNode(['app.mjs'], 'the application', {
    cwd: project,
    env,
  }).waitForExit();
  expect(accepted).toMatchObject({ code: 0, stderr: '' });
  const { jobId, afterRollback } = JSON.parse(accepted.stdout);
  expect(afterRollback).toEqual({ orders: 0, jobs: 0 });
  await untilAllEnded(database.sql);
  const jobs = await database.sql`
    select id, state, result from background_jobs where job_type = 'order_receipt'`;
  expect([...jobs]).toEqual([
    { id: jobId, state: 'completed', result: { tenant: 'acme', order: 'o-1', copies: 2 } },
  ]);
  fleet.signal('SIGTERM');
  expect(await fleet.waitForExit()).toMatchObject({ code: 0 });
}, 120_000);

it('has types that compile in a strict project', async () => {
  const tsc = join(modules, 'typescript', 'bin', 'tsc');
  const compiled = startNode([tsc, '--noEmit', '-p', project], 'tsc', { cwd: project });
  expect(await compiled.waitForExit({ timeoutMs: 60_000 })).toEqual({
    code: 0,
    signal: null,
    stdout: '',
    stderr: '',
  });
}, 60_000);
