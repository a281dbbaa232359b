/**
 * A process loads the SDK of its configured provider with the first call, and no other SDK; and never the code of
 * gpt-tokenizer, of which Purser reads the files alone.
 */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { startNode } from '../support/process.ts';
import { startProvider } from '../support/provider.ts';
import type { TestProvider } from '../support/provider.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

let database: TestDatabase;
let provider: TestProvider;
beforeAll(async () => {
  database = await freshDatabase();
  provider = await startProvider();
});
afterAll(async () => {
  await provider.stop();
  await database.close();
});

const script = fileURLToPath(new URL('loading-child.ts', import.meta.url));
const heavy = ['ai', '@ai-sdk/openai-compatible', '@ai-sdk/anthropic', '@ai-sdk/google'];

/** Of the heavy packages, those that a process loads before and with its first call. */
async function loadedBy(kind: 'openai' | 'anthropic' | 'google' | 'offline') {
  const models = { openai: 'gpt-4o-mini', anthropic: 'claude-haiku-4-5', google: 'gemini-2.5-pro' };
  const attempt = await startAttempt(database.sql, await addTenant(database.sql));
  const config =
    kind === 'offline'
      ? { kind }
      : { kind, model: models[kind], apiKey: 'k', baseUrl: provider.urls[kind] };
  const argument = JSON.stringify({ url: database.url, provider: config, attempt });
  const child = startNode(['--import', 'tsx', script, argument], `loading-child ${kind}`);
  const { code, stdout, stderr } = await child.waitForExit();
  expect(code).toBe(0);
  // Neither the SDKs nor the gateway print anything.
  const printed = stderr.split('\n').filter((line) => !line.startsWith('loads '));
  expect(printed).toEqual(['the gateway is created']);
  expect(stdout).toMatch(/All is well/);
  const [before = '', after = ''] = stderr.split('the gateway is created');
  const packagesIn = (log: string) =>
    [...heavy, 'gpt-tokenizer'].filter((name) => log.includes(`/node_modules/${name}/`));
  expect(before).toContain('/src/llm/create-llm.ts');
  return { before: packagesIn(before), after: packagesIn(after) };
}

it.each([
  ['openai', ['ai', '@ai-sdk/openai-compatible']],
  ['anthropic', ['ai', '@ai-sdk/anthropic']],
  ['google', ['ai', '@ai-sdk/google']],
  ['offline', []],
] as const)('%s: nothing before the first call, then %j', async (kind, after) => {
  expect(await loadedBy(kind)).toEqual({ before: [], after });
});
