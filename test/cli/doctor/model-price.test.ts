/** `doctor` tells whether calls of the configured model have a price, at the provider that they go to. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { insertVersions } from '../../../src/budget/prices/versions.ts';
import { syncPrices } from '../../../src/budget/prices/sync.ts';
import { checkLlm } from '../../../src/cli/doctor/checks/llm.ts';
import { readSettings } from '../../../src/cli/runtime/settings.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await freshDatabase();
});
afterAll(() => test.close());

const check = (model: string, env: NodeJS.ProcessEnv = {}) =>
  checkLlm(
    readSettings({ DATABASE_URL: test.url, OPENAI_API_KEY: 'sk-x', LLM_MODEL: model, ...env }),
    test.sql,
  );
const rates = { input: { usd: '1' }, output: { usd: '1' } };
const scope = { tenantId: null, validFrom: new Date('2020-01-01'), rates };
const record = { by: 'test', reason: 'test' };

it('warns of a stored published price that differs from that of this release, until the next sync', async () => {
  await insertVersions(
    test.sql,
    [{ ...scope, source: 'genai-prices', provider: 'openai', model: 'gpt-4o-mini' }],
    record,
  );
  const found = await check('gpt-4o-mini');
  expect(found).toMatchObject({
    level: 'warn',
    fix: expect.stringContaining('purser prices sync'),
  });
  expect(found.seen).toMatch(/gpt-4o-mini, priced by version \d+ of its published price/);
  await syncPrices(test.sql, { by: 'test' });
  expect(await check('gpt-4o-mini')).toMatchObject({
    level: 'ok',
    seen: 'openai, gpt-4o-mini, priced by genai-prices',
  });
});

it("counts a price at the provider's own host where no other is configured", async () => {
  await insertVersions(
    test.sql,
    [{ ...scope, source: 'operator', provider: 'openai', model: 'house-model' }],
    record,
  );
  expect(await check('house-model')).toMatchObject({ level: 'ok' });
  const elsewhere = await check('house-model', { OPENAI_BASE_URL: 'https://llm.example.com/v1' });
  expect(elsewhere).toMatchObject({ level: 'fail', fix: expect.stringContaining('prices set') });
});
