/** A handlers module that never ends loading ends a command with its name and exit code 78. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startNode } from '../support/process.ts';

const script = fileURLToPath(new URL('loading-module.mjs', import.meta.url));
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'purser-blocked-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function load(text: string) {
  const path = join(folder, 'module.mjs');
  await writeFile(path, text);
  return { path, end: await startNode([script, path], 'a loading command').waitForExit() };
}

const handlers = `[{ type: 'quick', timeoutMs: 1, maxAttempts: 1, run: async () => 1 }]`;

it.each([
  ['a loop at its top level', 'for (;;);'],
  ['a loop in a function', 'function wait() { for (;;) Math.random(); }\nwait();'],
  ['a regular expression', `/^(a+)+$/.test('a'.repeat(60) + 'b');`],
  ['a loop after an await', 'await 1; for (;;);'],
  [
    'a getter of its handlers',
    `const h = {}; Object.defineProperty(h, 'type', { get() { for (;;); } }); export const handlers = [h];`,
  ],
])('%s', async (_, text) => {
  const { path, end } = await load(text);
  expect(end).toMatchObject({ code: 78, stdout: '' });
  expect(end.stderr).toBe(
    `purser: PURSER_HANDLERS=${path}: the module blocks its thread for 1000 ms while it is loaded; look for a loop at its top level`,
  );
});

it('a wait outside JavaScript, which only a kill ends, is named too', async () => {
  const { path, end } = await load(`Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);`);
  expect(end.stderr).toContain(`PURSER_HANDLERS=${path}: the module blocks its thread`);
  expect([end.code, end.signal]).not.toEqual([0, null]);
});

it('a top-level await that never settles is reported by the main thread', async () => {
  const { end } = await load('await new Promise(() => {});');
  expect(end).toMatchObject({ code: 78, stderr: expect.stringContaining('has not settled') });
});

it('a module that loads is not touched', async () => {
  const { end } = await load(`export const handlers = ${handlers};`);
  expect(end).toMatchObject({ code: 0, stdout: 'quick', stderr: '' });
});
