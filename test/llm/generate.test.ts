import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseUsd } from '../../src/budget/money.ts';
import { assertBooksRight } from '../support/ledger.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { llmAttempt } from '../support/llm-attempt.ts';
import { startProvider } from '../support/provider.ts';
import type { TestProvider } from '../support/provider.ts';
import { addTenant } from '../support/tenants.ts';

const apiKey = 'sk-test-0123456789abcdef';
const schema = z.object({ summary: z.string(), score: z.number() });
const question = { system: 'Be brief.', prompt: 'How are the costs?', maxOutputTokens: 200 };

let database: TestDatabase;
let provider: TestProvider;
beforeAll(async () => {
  database = await freshDatabase();
  await database.sql`
    insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok)
    values ('input-only', '2020-01-01', 1, 0)`;
});
afterAll(() => database.close());
beforeEach(async () => {
  provider = await startProvider(apiKey);
});
afterEach(async () => {
  await provider.stop();
  await assertBooksRight(database.sql);
});

async function open(model = 'gpt-4o-mini') {
  const tenantId = await addTenant(database.sql, { limitUsd: '1' });
  const config = { kind: 'openai', model, apiKey, baseUrl: provider.url } as const;
  return llmAttempt(database.sql, tenantId, config);
}

describe('generate', () => {
  it('sends model, messages, the key, and the cap that was reserved for', async () => {
    const { llm } = await open();
    await llm.generate(question);
    const [request] = provider.received;
    expect(request?.headers.authorization).toBe(`Bearer ${apiKey}`);
    expect(request?.body).toEqual({
      model: 'gpt-4o-mini',
      max_tokens: 200,
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'How are the costs?' },
      ],
    });
  });

  it.each([
    ['English', 'The quick brown fox jumps over the lazy dog. '.repeat(50)],
    ['Chinese', '云计算成本分析显示存储费用上升。'.repeat(50)],
    ['JSON', JSON.stringify(Array.from({ length: 200 }, (_, id) => ({ id, cost: id / 7 })))],
    ['emoji and control characters', '👩‍🚀🧮\u0001\u2028"\\'.repeat(100)],
  ])('the hold covers what the provider counts, in %s', async (_script, prompt) => {
    const { llm, tenantId } = await open('input-only');
    const answer = await llm.generate({ ...question, prompt });
    const [row] = await database.sql<{ hold: string; price: unknown }[]>`
      select estimated_cost_usd as hold, price from llm_reservations where tenant_id = ${tenantId}`;
    expect(parseUsd(row?.hold ?? '0')).toBeGreaterThanOrEqual(parseUsd(answer.costUsd));
    expect(row?.price).toMatchObject({ source: 'operator', rates: { input: { usd: '1' } } });
    expect(answer.usage.inputTokens).toBe(provider.billed[0]?.prompt_tokens);
  });

  it('an answer with a schema is parsed from a fence, prose or after a reasoning block', async () => {
    const { llm } = await open();
    const object = { summary: 'ok', score: 1 };
    const json = JSON.stringify(object);
    for (const content of [
      json,
      `\`\`\`json\n${json}\n\`\`\``,
      `Here you are:\n${json}\nDoes this help?`,
      `<think>{ hm }</think>\n${json}`,
      `\uFEFF ${json}`,
    ]) {
      provider.answerWith(content);
      const answer = await llm.generate({ ...question, schema });
      expect(answer.object).toEqual(object);
      expect(answer.text).toBe(content);
    }
    const [request] = provider.received;
    expect(request?.body.response_format).toEqual({ type: 'json_object' });
    expect(request?.body.messages?.[0]?.content).toMatch(/one JSON object.*"score"/s);
  });

  it('a server that refuses JSON mode gets a second request without it, under a second hold, and is remembered', async () => {
    const { llm, tenantId } = await open();
    const message = "'response_format.type' must be 'json_schema' or 'text'";
    const body = JSON.stringify({ error: { message } });
    provider.script({ kind: 'status', status: 400, body });
    provider.answerWith('{"summary": "ok", "score": 1}');
    await llm.generate({ ...question, schema });
    await llm.generate({ ...question, schema });
    expect(provider.received.map(({ body }) => body.response_format?.type)).toEqual([
      'json_object',
      undefined,
      undefined,
    ]);
    const holds = await database.sql<{ status: string }[]>`
      select status from llm_reservations where tenant_id = ${tenantId} order by created_at`;
    expect(holds.map(({ status }) => status)).toEqual(['RELEASED', 'APPLIED', 'APPLIED']);
  });

  it('reasoning that a server leaves out of its completion tokens is charged', async () => {
    const { llm } = await open();
    const usage = { prompt_tokens: 100, completion_tokens: 10, total_tokens: 150 };
    provider.script({ kind: 'answer', usage });
    expect(await llm.generate(question)).toMatchObject({
      usage: { outputTokens: 50 },
      costUsd: '0.000045',
    });
  });

  it('a cost beyond the hold is charged in full and logged as an error', async () => {
    const { llm, tenantId } = await open();
    const usage = { prompt_tokens: 1_000_000, completion_tokens: 1 };
    provider.script({ kind: 'answer', usage });
    expect((await llm.generate(question)).costUsd).toBe('0.1500006');
    const [row] = await database.sql`
      select u.overage_usd = u.cost_usd - r.estimated_cost_usd as right
      from llm_usage u join llm_reservations r on r.id = u.reservation_id
      where u.tenant_id = ${tenantId}`;
    expect(row).toEqual({ right: true });
  });

  it('an explicit zero is a cost of zero', async () => {
    const { llm } = await open();
    provider.script({ kind: 'answer', usage: { prompt_tokens: 0, completion_tokens: 0 } });
    expect((await llm.generate(question)).costUsd).toBe('0');
  });

  it('a body that is not a chat completion is settled where it has usage, and refused', async () => {
    const { llm } = await open();
    const body = '{"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 0}}';
    provider.script({ kind: 'raw', body });
    await expect(llm.generate(question)).rejects.toMatchObject({
      code: 'llm_bad_response',
      details: { class: 'retry', outcome: 'settled' },
    });
  });
});
