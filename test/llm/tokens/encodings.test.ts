/** The exact count is taken for known models at their own provider alone. */
import { expect, it } from 'vitest';
import { encodingsOf } from '../../../src/llm/tokens/encodings.ts';

const openAi = 'https://api.openai.com/v1/chat/completions';

it.each([
  ['gpt-4o', ['o200k_base']],
  ['gpt-4o-mini-2024-07-18', ['o200k_base']],
  ['gpt-4.1-nano', ['o200k_base']],
  ['o3-mini-2025-01-31', ['o200k_base']],
  ['gpt-5.6-sol', ['o200k_base']],
  ['gpt-4', ['cl100k_base']],
  ['gpt-4-0613', ['cl100k_base']],
  ['gpt-3.5-turbo-0125', ['cl100k_base']],
  // Another model, or one of which nothing is known.
  ['gpt-4o-audio-preview', []],
  ['gpt-4o-search-preview', []],
  ['gpt-5-chat-latest', []],
  ['chatgpt-4o-latest', []],
  ['gpt-6', []],
  ['gpt-4o-2', []],
  ['GPT-4o', []],
  ['openai/gpt-4o', []],
  ['my-gpt-4o', []],
  ['gpt-oss-20b', []],
  ['', []],
])('%s at OpenAI: %j', (model, encodings) => {
  expect(encodingsOf(openAi, model)).toEqual(encodings);
});

it('at Azure the name of a deployment may be kept for another model, of either encoding', () => {
  const azure = 'https://my-team.openai.azure.com/openai/v1/chat/completions';
  expect(encodingsOf(azure, 'gpt-4')).toEqual(['o200k_base', 'cl100k_base']);
  expect(encodingsOf(azure, 'gpt-4o')).toEqual(['o200k_base', 'cl100k_base']);
  expect(encodingsOf(azure, 'our-deployment')).toEqual([]);
});

it.each([
  'http://127.0.0.1:8000/v1/chat/completions',
  'https://openrouter.ai/api/v1/chat/completions',
  'https://api.openai.com.example.com/v1/chat/completions',
  'https://my-api.openai.com/v1/chat/completions',
  'https://openai.azure.com.example.com/v1/chat/completions',
  'https://a.b.openai.azure.com/v1/chat/completions',
  'https://api.openai.com@example.com/v1/chat/completions',
])('not at %s', (url) => {
  expect(encodingsOf(url, 'gpt-4o')).toEqual([]);
});
