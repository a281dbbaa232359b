import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseUsd } from '../../src/budget/money.ts';
import { llmAttempt, useProvider } from '../support/llm-attempt.ts';
import { addTenant } from '../support/tenants.ts';

const apiKey = 'sk-test-0123456789abcdef';
const schema = z.object({ summary: z.string(), score: z.number() });
const question = { system: 'Be brief.', prompt: 'How are the costs?', maxOutputTokens: 200 };

const fixture = useProvider({ apiKey, price: { model: 'input-only', input: 1, output: 0 } });

async function open(model = 'gpt-4o-mini') {
  const tenantId = await addTenant(fixture.database.sql, { limitUsd: '1' });
  const config = { kind: 'openai', model, apiKey, baseUrl: fixture.provider.url } as const;
  return llmAttempt(fixture.database.sql, tenantId, config);
}

describe('generate', () => {
  it('sends model, messages, the key, and the cap that was reserved for', async () => {
    const { llm } = await open();
    await llm.generate(question);
    const [request] = fixture.provider.received;
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
    const [row] = await fixture.database.sql<{ hold: string; price: unknown }[]>`
      select estimated_cost_usd as hold, price from llm_reservations where tenant_id = ${tenantId}`;
    expect(parseUsd(row?.hold ?? '0')).toBeGreaterThanOrEqual(parseUsd(answer.costUsd));
    expect(row?.price).toMatchObject({ source: 'operator', rates: { input: { usd: '1' } } });
    expect(answer.usage.inputTokens).toBe(fixture.provider.billed[0]?.prompt_tokens);
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
      fixture.provider.answerWith(content);
      const answer = await llm.generate({ ...question, schema });
      expect(answer.object).toEqual(object);
      expect(answer.text).toBe(content);
    }
    const [request] = fixture.provider.received;
    expect(request?.body.response_format).toEqual({ type: 'json_object' });
    expect(request?.body.messages?.[0]?.content).toMatch(/one JSON object.*"score"/s);
  });

  it('a server that refuses JSON mode gets a second request without it, under a second hold, and is remembered', async () => {
    const { llm, tenantId } = await open();
    const message = "'response_format.type' must be 'json_schema' or 'text'";
    const body = JSON.stringify({ error: { message } });
    fixture.provider.script({ kind: 'status', status: 400, body });
    fixture.provider.answerWith('{"summary": "ok", "score": 1}');
    await llm.generate({ ...question, schema });
    await llm.generate({ ...question, schema });
    expect(fixture.provider.received.map(({ body }) => body.response_format?.type)).toEqual([
      'json_object',
      undefined,
      undefined,
    ]);
    const holds = await fixture.database.sql<{ status: string }[]>`
      select status from llm_reservations where tenant_id = ${tenantId} order by created_at`;
    expect(holds.map(({ status }) => status)).toEqual(['RELEASED', 'APPLIED', 'APPLIED']);
  });

  it('reasoning that a server leaves out of its completion tokens is charged', async () => {
    const { llm } = await open();
    const usage = { prompt_tokens: 100, completion_tokens: 10, total_tokens: 150 };
    fixture.provider.script({ kind: 'answer', usage });
    expect(await llm.generate(question)).toMatchObject({
      usage: { outputTokens: 50 },
      costUsd: '0.000045',
    });
  });

  it('a cost beyond the hold is charged in full and logged as an error', async () => {
    const { llm, tenantId } = await open();
    const usage = { prompt_tokens: 1_000_000, completion_tokens: 1 };
    fixture.provider.script({ kind: 'answer', usage });
    expect((await llm.generate(question)).costUsd).toBe('0.1500006');
    const [row] = await fixture.database.sql`
      select u.overage_usd = u.cost_usd - r.estimated_cost_usd as right
      from llm_usage u join llm_reservations r on r.id = u.reservation_id
      where u.tenant_id = ${tenantId}`;
    expect(row).toEqual({ right: true });
  });

  it('an explicit zero is a cost of zero', async () => {
    const { llm } = await open();
    fixture.provider.script({ kind: 'answer', usage: { prompt_tokens: 0, completion_tokens: 0 } });
    expect((await llm.generate(question)).costUsd).toBe('0');
  });

  it('a body that is not a chat completion is settled where it has usage, and refused', async () => {
    const { llm } = await open();
    const body = '{"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 0}}';
    fixture.provider.script({ kind: 'raw', body });
    await expect(llm.generate(question)).rejects.toMatchObject({
      code: 'llm_bad_response',
      details: { class: 'retry', outcome: 'settled' },
    });
  });
});
