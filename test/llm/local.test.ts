/** The local provider answers with the analyst of its configuration, and has none of its own. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { assertBooksRight } from '../support/ledger.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { llmAttempt } from '../support/llm-attempt.ts';
import { addTenant } from '../support/tenants.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(async () => {
  await assertBooksRight(database.sql);
  await database.close();
});

const question = { system: '', prompt: 'How are the costs?', maxOutputTokens: 5 };

it('uses the first candidate answer that fits maxOutputTokens', async () => {
  const tenantId = await addTenant(database.sql, { limitUsd: '1' });
  const answers = () => ['one two three four five six seven', 'one two', 'one'];
  const { llm } = await llmAttempt(database.sql, tenantId, {
    kind: 'offline',
    analyst: { model: 'parrot', answers },
  });
  expect(await llm.generate(question)).toMatchObject({
    text: 'one two',
    costUsd: '0',
    analyst: { provider: 'offline', model: 'parrot', offline: true },
  });
});

it('without an analyst a call is fatal, names the missing settings, and holds nothing', async () => {
  const tenantId = await addTenant(database.sql, { limitUsd: '1' });
  const { llm } = await llmAttempt(database.sql, tenantId, { kind: 'offline' });
  await expect(llm.generate(question)).rejects.toMatchObject({
    code: 'llm_not_configured',
    message: expect.stringMatching(
      /LLM_PROVIDER.*OPENAI_API_KEY.*ANTHROPIC_API_KEY.*GOOGLE_API_KEY/,
    ),
    details: { class: 'fatal', outcome: 'released' },
  });
  const rows = await database.sql`select from llm_reservations where tenant_id = ${tenantId}`;
  expect(rows).toHaveLength(0);
});
