/**
 * Calls that are made, or still in flight, when their handler has returned: they fail, and take no room from others. The
 * attempt fails with those in flight.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openPool } from './built-executors.ts';
import type { BuiltPool } from './built-executors.ts';

// Five of these prompts are more than a thread's calls in flight may have together.
const handlers = `
import { writeFile } from 'node:fs/promises';
const big = 'x'.repeat(7 * 1024 * 1024);
const call = (ctx, prompt) => ctx.llm.generate({ system: 's', prompt, maxOutputTokens: 5 })
  .then(() => 'answered', (error) => error.code + ': ' + error.message);
const fill = async (ctx) => {
  const answers = await Promise.all(Array.from({ length: 5 }, () => call(ctx, big)));
  // Made after all others have left their room.
  answers.push(await call(ctx, 'short'));
  await writeFile(ctx.payload.path, JSON.stringify(answers));
};
const h = (type, run) => ({ type, timeoutMs: 60_000, maxAttempts: 3, run });
export const handlers = [
  h('leaves', async (ctx) => { setTimeout(() => void fill(ctx), 300); }),
  h('leaves_at_once', async (ctx) => { void fill(ctx); }),
];
`;

let pool: BuiltPool;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'purser-late-calls-'));
  pool = await openPool(handlers);
});
afterAll(async () => {
  await pool.close();
  await rm(folder, { recursive: true, force: true });
});

it.each([
  ['leaves', { toState: 'completed' }],
  ['leaves_at_once', { error: { code: 'call_not_awaited' } }],
])('LLM calls of a handler that %s are refused', async (type, end) => {
  const path = join(folder, type);
  expect(await pool.run(type, { payload: JSON.stringify({ path }) })).toMatchObject(end);
  const read = () => readFile(path, 'utf8').catch(() => '');
  await expect.poll(read, { timeout: 20_000 }).toMatch(/\]$/);
  const refused = expect.stringMatching(/^llm_aborted: the attempt ended/);
  expect(JSON.parse(await read())).toEqual(Array.from({ length: 6 }, () => refused));
});
