/** What goes over the wire to Anthropic and Google, and what their usage costs. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseUsd } from '../../src/budget/money.ts';
import { llmAttempt, useProvider } from '../support/llm-attempt.ts';
import { wireProtocols } from '../support/provider-protocols.ts';
import type { WireProtocol } from '../support/provider-protocols.ts';
import { addTenant } from '../support/tenants.ts';

const apiKey = 'test-key-0123456789abcdef';
const question = { system: 'Be brief.', prompt: 'How are the costs?', maxOutputTokens: 200 };
const schema = z.object({ summary: z.string() });
/** Published prices: input, output, read and write of the cache, per million tokens. */
const models = { openai: 'gpt-4o-mini', anthropic: 'claude-haiku-4-5', google: 'gemini-2.5-flash' };

const fixture = useProvider({ apiKey, price: { model: 'input-only', input: 1, output: 0 } });

async function open(kind: WireProtocol, options: { model?: string; baseUrl?: string } = {}) {
  const tenantId = await addTenant(fixture.database.sql, { limitUsd: '1' });
  const { model = models[kind], baseUrl = fixture.provider.urls[kind] } = options;
  return llmAttempt(fixture.database.sql, tenantId, { kind, model, apiKey, baseUrl });
}

async function holdsOf(tenantId: string) {
  const rows = await fixture.database.sql<{ hold: string; status: string; provider: string }[]>`
    select estimated_cost_usd as hold, status, provider from llm_reservations
    where tenant_id = ${tenantId} order by created_at`;
  return [...rows];
}

describe('the request', () => {
  it('to Anthropic has the key in a header, the cap that was reserved for, and a separate system prompt', async () => {
    const { llm } = await open('anthropic');
    const answer = await llm.generate(question);
    const [request] = fixture.provider.received;
    expect(request?.headers['x-api-key']).toBe(apiKey);
    expect(request?.headers['anthropic-version']).toBe('2023-06-01');
    expect(request?.headers.authorization).toBeUndefined();
    expect(request?.body).toEqual({
      model: 'claude-haiku-4-5',
      max_tokens: 200,
      system: [{ type: 'text', text: 'Be brief.' }],
      messages: [{ role: 'user', content: [{ type: 'text', text: 'How are the costs?' }] }],
    });
    expect(answer).toMatchObject({
      text: 'All is well.',
      analyst: { provider: 'anthropic', model: 'claude-haiku-4-5', offline: false },
    });
  });

  it('to Google has the key in a header and not in the URL, and the cap that was reserved for', async () => {
    const { llm } = await open('google');
    const answer = await llm.generate(question);
    const [request] = fixture.provider.received;
    expect(request?.path).toBe('/google/v1beta/models/gemini-2.5-flash:generateContent');
    expect(request?.headers['x-goog-api-key']).toBe(apiKey);
    expect(request?.body).toEqual({
      generationConfig: { maxOutputTokens: 200 },
      systemInstruction: { parts: [{ text: 'Be brief.' }] },
      contents: [{ role: 'user', parts: [{ text: 'How are the costs?' }] }],
    });
    expect(answer).toMatchObject({
      text: 'All is well.',
      analyst: { provider: 'google', model: 'gemini-2.5-flash', offline: false },
    });
  });

  it.each(wireProtocols)('asks %s for JSON and parses it', async (kind) => {
    const { llm } = await open(kind);
    fixture.provider.answerWith('```json\n{"summary": "ok"}\n```');
    const { object } = await llm.generate({ ...question, schema });
    expect(object).toEqual({ summary: 'ok' });
    const [request] = fixture.provider.received;
    expect(request?.text).toMatch(/one JSON object.*summary/s);
    expect(request?.body.response_format?.type).toBe(kind === 'openai' ? 'json_object' : undefined);
    expect(request?.body.generationConfig?.responseMimeType).toBe(
      kind === 'google' ? 'application/json' : undefined,
    );
  });

  it('a Google model that refuses JSON mode gets a second request without it, under a second hold, and is remembered', async () => {
    const { llm, tenantId } = await open('google');
    const message = 'JSON mode is not enabled for models/gemma-3-27b-it';
    const body = JSON.stringify({ error: { code: 400, message, status: 'INVALID_ARGUMENT' } });
    fixture.provider.script({ kind: 'status', status: 400, body });
    fixture.provider.answerWith('{"summary": "ok"}');
    await llm.generate({ ...question, schema });
    await llm.generate({ ...question, schema });
    expect(
      fixture.provider.received.map((request) => request.body.generationConfig?.responseMimeType),
    ).toEqual(['application/json', undefined, undefined]);
    expect((await holdsOf(tenantId)).map(({ status }) => status)).toEqual([
      'RELEASED',
      'APPLIED',
      'APPLIED',
    ]);
  });

  it('an answer with a continuation token is one request and one hold', async () => {
    const { llm, tenantId } = await open('google');
    const usageMetadata = { promptTokenCount: 9, candidatesTokenCount: 3, totalTokenCount: 12 };
    const content = { role: 'model', parts: [{ text: 'The first half' }] };
    const candidate = { content, finishReason: 'CONTINUATION', continuationToken: 'more' };
    fixture.provider.script({
      kind: 'raw',
      body: JSON.stringify({ candidates: [candidate], usageMetadata }),
    });
    expect((await llm.generate(question)).text).toBe('The first half');
    expect(fixture.provider.received).toHaveLength(1);
    expect(await holdsOf(tenantId)).toMatchObject([{ status: 'APPLIED', provider: 'google' }]);
  });
});

describe('the base URL', () => {
  it.each([
    ['anthropic', '', '/v1/messages'],
    ['anthropic', '/', '/v1/messages'],
    ['anthropic', '/gateway/', '/gateway/messages'],
    ['google', '/', '/v1beta/models/gemini-2.5-flash:generateContent'],
    ['openai', '/api/v1//', '/api/v1/chat/completions'],
  ] as const)('of %s ending in "%s" leads to %s', async (kind, path, route) => {
    const baseUrl = `${new URL(fixture.provider.url).origin}${path}`;
    const { llm } = await open(kind, { baseUrl });
    await expect(llm.generate(question)).rejects.toMatchObject({
      code: 'llm_model_not_found',
      message: expect.stringContaining(`(the provider says: no route ${route})`),
    });
  });
});

describe.each(wireProtocols)('the hold, in the protocol of %s', (kind) => {
  it.each([
    ['English', 'The quick brown fox jumps over the lazy dog. '.repeat(50)],
    ['Chinese', '云计算成本分析显示存储费用上升。'.repeat(50)],
    ['JSON', JSON.stringify(Array.from({ length: 200 }, (_, id) => ({ id, cost: id / 7 })))],
    ['emoji and control characters', '👩‍🚀🧮\u0001\u2028"\\'.repeat(100)],
  ])('covers what the provider counts, in %s', async (_script, prompt) => {
    const { llm, tenantId } = await open(kind, { model: 'input-only' });
    const answer = await llm.generate({ ...question, prompt });
    const [row] = await holdsOf(tenantId);
    expect(parseUsd(row?.hold ?? '0')).toBeGreaterThanOrEqual(parseUsd(answer.costUsd));
    expect(answer.usage.inputTokens).toBe(fixture.provider.billed[0]?.prompt_tokens);
    expect(row?.provider).toBe(kind);
  });
});

describe('usage', () => {
  it.each<[string, WireProtocol, object, object]>([
    [
      'Anthropic leaves cached tokens out of input_tokens: 100 fresh, 1000 read at a tenth, 200 written at 1.25',
      'anthropic',
      {
        input_tokens: 100,
        cache_creation_input_tokens: 200,
        cache_read_input_tokens: 1000,
        output_tokens: 10,
      },
      { usage: { inputTokens: 1300, outputTokens: 10 }, costUsd: '0.0005' },
    ],
    [
      'Anthropic without any word of a cache',
      'anthropic',
      { input_tokens: 100, output_tokens: 10, cache_read_input_tokens: null },
      { usage: { inputTokens: 100, outputTokens: 10 }, costUsd: '0.00015' },
    ],
    [
      'an explicit zero of Anthropic is a bill of zero',
      'anthropic',
      { input_tokens: 0, output_tokens: 0 },
      { usage: { inputTokens: 0, outputTokens: 0 }, costUsd: '0' },
    ],
    [
      'thoughts of Google are output beside the candidates, and cached tokens part of the prompt',
      'google',
      {
        promptTokenCount: 1000,
        cachedContentTokenCount: 400,
        candidatesTokenCount: 10,
        thoughtsTokenCount: 90,
        totalTokenCount: 1100,
      },
      { usage: { inputTokens: 1000, outputTokens: 100 }, costUsd: '0.000442' },
    ],
    [
      'thoughts of Google without a total are output all the same',
      'google',
      { promptTokenCount: 1000, candidatesTokenCount: 10, thoughtsTokenCount: 90 },
      { usage: { inputTokens: 1000, outputTokens: 100 }, costUsd: '0.00055' },
    ],
    [
      'what Google counts in the total only is output',
      'google',
      { promptTokenCount: 1000, candidatesTokenCount: 10, totalTokenCount: 1100 },
      { usage: { inputTokens: 1000, outputTokens: 100 }, costUsd: '0.00055' },
    ],
    [
      'a prompt of tools is input of Google',
      'google',
      { promptTokenCount: 600, toolUsePromptTokenCount: 400, candidatesTokenCount: 100 },
      { usage: { inputTokens: 1000, outputTokens: 100 }, costUsd: '0.00055' },
    ],
    [
      'a zero that Google leaves out is zero, where the total proves it',
      'google',
      { promptTokenCount: 1000, totalTokenCount: 1000 },
      { usage: { inputTokens: 1000, outputTokens: 0 }, costUsd: '0.0003' },
    ],
  ])('%s', async (_name, kind, usage, expected) => {
    const { llm } = await open(kind);
    fixture.provider.script({ kind: 'answer', usage });
    expect(await llm.generate(question)).toMatchObject(expected);
  });

  it.each<[WireProtocol, object]>([
    ['anthropic', { input_tokens: 100 }],
    ['anthropic', { output_tokens: 100 }],
    ['anthropic', { input_tokens: 1, output_tokens: 1, cache_creation_input_tokens: 'many' }],
    ['google', { promptTokenCount: 100 }],
    ['google', { candidatesTokenCount: 100, totalTokenCount: 100 }],
    ['google', { promptTokenCount: 1, candidatesTokenCount: 1, thoughtsTokenCount: 1e15 }],
  ])('of %s as %j is missing: the hold stays charged', async (kind, usage) => {
    const { llm, tenantId } = await open(kind);
    fixture.provider.script({ kind: 'answer', usage });
    await expect(llm.generate(question)).rejects.toMatchObject({
      code: 'llm_bad_response',
      details: { outcome: 'unknown' },
    });
    expect(await holdsOf(tenantId)).toMatchObject([{ status: 'UNKNOWN' }]);
  });
});
