/** The worst case of one serialised request. */
import { expect, it } from 'vitest';
import { anthropicProtocol } from '../../../src/llm/anthropic.ts';
import { openAiProtocol } from '../../../src/llm/openai.ts';
import { byteBound } from '../../../src/llm/tokens/byte-bound.ts';
import { requestBound } from '../../../src/llm/tokens/request-bound.ts';
import { textOf } from '../../support/llm-trace/texts.ts';

const openAi = 'https://api.openai.com/v1/chat/completions';
const server = 'http://127.0.0.1:8000/v1/chat/completions';
const chinese = textOf('Chinese', 2000, 3);

const bodyOf = (more: object = {}) =>
  JSON.stringify({ model: 'gpt-4o', messages: [{ role: 'user', content: chinese }], ...more });

const boundOf = (url: string, body: string, model = 'gpt-4o') =>
  requestBound({ url, kind: 'openai', model, body, maxOutputTokens: 100 });

it('has the exact tokens for a known model at OpenAI, and the bytes everywhere else', async () => {
  const body = bodyOf({ service_tier: 'default' });
  const bytes = byteBound(body, openAi);
  const known = await boundOf(openAi, body);
  expect(known.inputTokens).toBeLessThan(2100);
  expect(bytes).toBeGreaterThan(5000);
  expect((await boundOf(openAi, body, 'gpt-6')).inputTokens).toBe(bytes);
  expect((await boundOf(server, body)).inputTokens).toBe(byteBound(body, server));
  const anthropic = await requestBound({
    url: 'https://api.anthropic.com/v1/messages',
    kind: 'anthropic',
    model: 'gpt-4o',
    body,
    maxOutputTokens: 100,
  });
  expect(anthropic.inputTokens).toBe(byteBound(body, 'https://api.anthropic.com'));
});

it('is never more than the bytes', async () => {
  for (const content of ['', 'x', 'a'.repeat(100_000)]) {
    const body = JSON.stringify({ messages: [{ role: 'user', content }] });
    const { inputTokens } = await boundOf(openAi, body);
    expect(inputTokens).toBeLessThanOrEqual(byteBound(body, openAi));
    expect(inputTokens).toBeGreaterThan(content === 'x' ? 1 : 0);
  }
});

it('does not count a request of more than 6 MiB', async () => {
  const body = bodyOf({ padding: 'word '.repeat(1_300_000) });
  expect((await boundOf(openAi, body)).inputTokens).toBe(byteBound(body, openAi));
});

it('allows the cap for each answer, and has the factor of the tier', async () => {
  const body = bodyOf({ n: 4, service_tier: 'priority' });
  expect(await boundOf(openAi, body)).toMatchObject({ maxOutputTokens: 400, factor: '2.5' });
  const plain = bodyOf({ service_tier: 'default' });
  expect(await boundOf(openAi, plain)).toMatchObject({ maxOutputTokens: 100, factor: '1' });
});

it('of what is no JSON object there is none', async () => {
  for (const body of ['', '7', '"text"', '{', 'null']) {
    await expect(boundOf(openAi, body)).rejects.toThrow('not a JSON object');
  }
});

it('every provider whose account may have a dearer tier is asked for the standard one', () => {
  const tierAt = (baseUrl: string) =>
    openAiProtocol.wireBody({ max_tokens: 1 }, { baseUrl, jsonMode: false });
  expect(tierAt('https://api.openai.com/v1')).toEqual({
    max_completion_tokens: 1,
    service_tier: 'default',
  });
  expect(tierAt('https://our.openai.azure.com/openai/v1')).toEqual({
    max_tokens: 1,
    service_tier: 'default',
  });
  expect(tierAt('http://127.0.0.1:8000/v1')).toEqual({ max_tokens: 1 });
  const baseUrl = 'https://api.anthropic.com/v1';
  expect(anthropicProtocol.wireBody({}, { baseUrl, jsonMode: false })).toEqual({
    service_tier: 'standard_only',
  });
});
