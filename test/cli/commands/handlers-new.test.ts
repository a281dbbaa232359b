/** `purser handlers new` writes a handler and a test that run unchanged. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadHandlers } from '../../../src/handlers/load.ts';
import { invokeWith } from '../in-process.ts';

const purser = invokeWith({});
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'purser-handlers-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('the skeleton passes its own test and loads as a handler', async () => {
  const made = await purser('handlers', 'new', 'monthly_digest', '--dir', folder);
  expect(made).toMatchObject({ code: 0 });
  expect((await readdir(folder)).toSorted()).toEqual([
    'monthly-digest.mjs',
    'monthly-digest.test.mjs',
  ]);
  const ran = spawnSync(process.execPath, ['--test'], { cwd: folder, encoding: 'utf8', env: {} });
  expect(ran.stdout).toMatch(/pass 2/);
  expect(ran.status).toBe(0);
  const [handler] = await loadHandlers(join(folder, 'monthly-digest.mjs'));
  expect(handler).toMatchObject({ type: 'monthly_digest', timeoutMs: 30_000, maxAttempts: 3 });
});

test('the printed commands are quoted for the shell', async () => {
  const spaced = join(folder, "the team's jobs");
  const { out } = await purser('handlers', 'new', 'send_invoice', '--dir', spaced);
  const word = (name: string) => `'${join(spaced, name).replaceAll("'", `'\\''`)}'`;
  expect(out).toContain(`node --test ${word('send-invoice.test.mjs')}\n`);
  expect(out).toContain(`PURSER_HANDLERS=${word('send-invoice.mjs')} npx purser start worker`);
});

test('it overwrites no file, and refuses a name that is not a job type', async () => {
  const again = await purser('handlers', 'new', 'monthly_digest', '--dir', folder);
  expect(again).toMatchObject({ code: 1, err: expect.stringContaining('already exists') });
  const named = await purser('handlers', 'new', 'Monthly Digest');
  expect(named).toMatchObject({ code: 64, err: expect.stringContaining('lower-case') });
});

test('handlers list shows what a worker with this environment runs', async () => {
  const own = invokeWith({ PURSER_HANDLERS: join(folder, 'monthly-digest.mjs') });
  const { out } = await own('handlers', 'list', '--json');
  const types = JSON.parse(out).map(({ type }: { type: string }) => type);
  expect(types).toEqual(['cost_ingestion', 'finops_analysis', 'key_rotation', 'monthly_digest']);
});
