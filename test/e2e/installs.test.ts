/**
 * The ways to install a clone, each by npm itself: whichever is taken, the driver is patched or nothing starts. npm
 * takes packages from its cache, which holds them since this clone was installed.
 */
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { driverMark } from '../../src/db/driver.ts';
import { startNode } from '../support/process.ts';

const run = promisify(execFile);
const parts = [
  'package.json',
  'package-lock.json',
  'scripts',
  'patches',
  'dist',
  'sql',
  'templates',
];

let clone: string;
beforeAll(async () => {
  clone = await mkdtemp(join(tmpdir(), 'purser-clone-'));
  const options = { recursive: true, verbatimSymlinks: true };
  await Promise.all(parts.map((part) => cp(part, join(clone, part), options)));
});
afterAll(() => rm(clone, { recursive: true, force: true }));

const npm = (...args: string[]) =>
  run('npm', [...args, '--prefer-offline', '--no-audit', '--no-fund'], {
    cwd: clone,
    maxBuffer: 16 * 1024 * 1024,
  });

/** Without a database in its environment. */
const purser = (...args: string[]) =>
  startNode([join(clone, 'dist', 'cli', 'main.js'), ...args], `purser ${args.join(' ')}`, {
    cwd: clone,
    env: {},
  }).waitForExit();

/** The mark of the driver that CommonJS code of the clone gets, in a process of its own. */
const mark = async (): Promise<string> => {
  const { stdout } = await run(process.execPath, ['-p', `require('postgres').patchedBy`], {
    cwd: clone,
  });
  return stdout.trim();
};

const works = { code: 78, stderr: expect.stringContaining('DATABASE_URL is not set') };

describe('npm ci --ignore-scripts', () => {
  beforeAll(() => npm('ci', '--ignore-scripts', '--omit=dev'), 180_000);

  test.each(['start worker', 'start all', 'demo --once', 'migrate up', 'tenants list', 'doctor'])(
    '%s refuses to run and names the fix',
    async (words) => {
      expect(await purser(...words.split(' '))).toMatchObject({
        code: 78,
        stdout: '',
        stderr: expect.stringMatching(/lacks purser's patches[^]+run: npm run prepare/),
      });
    },
  );

  test('a pool opened without the command line is refused too', async () => {
    const open = `import { connect } from './dist/db/connect.js';
      connect('postgres://127.0.0.1:9/none', { max: 1, applicationName: 'none' });`;
    const args = ['--input-type=module', '--eval', open];
    expect(await startNode(args, 'connect', { cwd: clone, env: {} }).waitForExit()).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`code: 'driver_not_patched'`),
    });
  });

  test('what opens no connection runs', async () => {
    expect(await purser('--version')).toMatchObject({ code: 0, stderr: '' });
  });

  test('npm pack --ignore-scripts fails and names what is missing', async () => {
    await expect(npm('pack', '--ignore-scripts')).rejects.toMatchObject({
      stderr: expect.stringMatching(/ENOENT.+patches\/applied-by-npm-run-prepare\/\.npmignore/),
    });
    expect((await readdir(clone)).filter((name) => name.endsWith('.tgz'))).toEqual([]);
  });

  test('npm run prepare mends it: commands start, and the package can be packed', async () => {
    await npm('run', 'prepare');
    await npm('run', 'prepare');
    expect(await mark()).toBe(driverMark);
    expect(await purser('start', 'worker')).toMatchObject(works);
    const { stdout } = await npm('pack', '--ignore-scripts', '--dry-run', '--json');
    expect(stdout).toContain('node_modules/postgres/cjs/src/connection.js');
  });
});

describe('npm ci --omit=dev', () => {
  beforeAll(() => npm('ci', '--omit=dev'), 180_000);

  test('patches the driver without a development dependency', async () => {
    expect(await readdir(join(clone, 'node_modules'))).not.toContain('vitest');
    expect(await mark()).toBe(driverMark);
    expect(await purser('start', 'worker')).toMatchObject(works);
  });
});

describe('npm ci, then npm prune --omit=dev', () => {
  beforeAll(async () => {
    await npm('ci');
    await npm('prune', '--omit=dev');
  }, 300_000);

  test('keeps the patches', async () => {
    expect(await readdir(join(clone, 'node_modules'))).not.toContain('vitest');
    expect(await mark()).toBe(driverMark);
    expect(await purser('start', 'worker')).toMatchObject(works);
  });
});
