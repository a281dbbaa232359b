/** A hold counts the rates that its very request can be billed at: no more, and none less. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { usageClasses } from '../../../src/budget/usage-classes.ts';
import type { ProviderKind } from '../../../src/llm/protocol.ts';
import { answersAsked, classesReached } from '../../../src/llm/tokens/reach.ts';
import { factorReached } from '../../../src/llm/tokens/tier-reached.ts';
import { anthropicUsage } from '../../../src/llm/usage/anthropic.ts';
import { googleUsage } from '../../../src/llm/usage/google.ts';
import { openAiUsage } from '../../../src/llm/usage/openai.ts';

const homes = {
  openai: 'https://api.openai.com/v1/chat/completions',
  anthropic: 'https://api.anthropic.com/v1/messages',
  google: 'https://generativelanguage.googleapis.com/v1beta/models/m:generateContent',
  azure: 'https://our.openai.azure.com/openai/v1/chat/completions',
  server: 'http://127.0.0.1:8000/v1/chat/completions',
};

type Body = Readonly<Record<string, unknown>>;

const request = (kind: ProviderKind, body: Body, at: keyof typeof homes = kind, model = 'm') => ({
  kind,
  url: homes[at],
  model,
  body,
});

const text = { messages: [{ role: 'user', content: 'Well?' }] };
const marked = (ttl?: string) => ({
  system: [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral', ttl } }],
});

describe('the input', () => {
  it.each([
    ['openai', text, 'openai', ['cache_write']],
    ['openai', text, 'server', ['cache_write']],
    ['google', { contents: [{ parts: [{ text: 'x' }] }] }, 'google', []],
    ['anthropic', text, 'anthropic', []],
    // A text about the field is no mark.
    ['anthropic', { messages: [{ content: '"cache_control":{"ttl":"1h"}' }] }, 'anthropic', []],
    ['anthropic', { cache_control: { type: 'ephemeral' } }, 'anthropic', ['cache_write']],
    ['anthropic', marked(), 'anthropic', ['cache_write']],
    ['anthropic', marked('5m'), 'anthropic', ['cache_write']],
    ['anthropic', marked('1h'), 'anthropic', ['cache_write', 'cache_write_1h']],
    ['anthropic', text, 'server', ['cache_write', 'cache_write_1h']],
  ] as const)('%s %j at %s is written to a cache as %j', (kind, body, at, writes) => {
    const { inputClasses } = classesReached(request(kind, body, at));
    expect(inputClasses).toEqual(['input', 'cache_read', ...writes]);
  });

  it.each([
    ['openai', { messages: [{ content: [{ type: 'input_audio' }] }] }],
    ['google', { contents: [{ parts: [{ inlineData: {} }] }] }],
    ['google', { contents: [{ parts: [{ text: 'x' }] }], cachedContent: 'cachedContents/1' }],
  ] as const)('%s %j has the rates of media', (kind, body) => {
    const { inputClasses } = classesReached(request(kind, body));
    expect(inputClasses).toEqual(expect.arrayContaining(['input_audio', 'input_image']));
  });
});

describe('the output', () => {
  const media = ['output_audio', 'output_image', 'output_video'];
  it.each([
    ['openai', text, 'openai', []],
    ['openai', text, 'azure', []],
    ['openai', { ...text, modalities: ['text'] }, 'openai', []],
    ['openai', { ...text, modalities: ['text', 'audio'] }, 'openai', media],
    ['openai', text, 'server', media],
    ['anthropic', text, 'anthropic', []],
    ['google', {}, 'google', media],
    ['google', { generationConfig: { responseModalities: [] } }, 'google', media],
    ['google', { generationConfig: { responseModalities: ['TEXT'] } }, 'google', []],
    ['google', { generationConfig: { responseModalities: ['TEXT', 'IMAGE'] } }, 'google', media],
  ] as const)('%s %j at %s: %j', (kind, body, at, more) => {
    const { outputClasses } = classesReached(request(kind, body, at));
    expect(outputClasses).toEqual(['output', 'reasoning', ...more]);
  });

  it.each([
    ['openai', { n: 3 }, 3],
    ['openai', { n: 1 }, 1],
    ['openai', { n: 'many' }, 1],
    ['openai', { n: -4 }, 1],
    ['anthropic', { n: 3 }, 1],
    ['google', { generationConfig: { candidateCount: 8 } }, 8],
    ['google', {}, 1],
  ] as const)('%s %j has %i answers', (kind, body, answers) => {
    expect(answersAsked(request(kind, body))).toBe(answers);
  });
});

describe('the service tier', () => {
  it.each([
    ['openai', { service_tier: 'default' }, 'openai', '1'],
    ['openai', { service_tier: 'flex' }, 'openai', '1'],
    ['openai', { service_tier: 'priority' }, 'openai', '2.5'],
    ['openai', { service_tier: 'Priority' }, 'server', '2.5'],
    ['openai', { service_tier: 'one of next year' }, 'openai', '2.5'],
    // The project or the deployment decides.
    ['openai', {}, 'openai', '2.5'],
    ['openai', { service_tier: null }, 'openai', '2.5'],
    ['openai', { service_tier: 'auto' }, 'azure', '2.5'],
    ['openai', {}, 'server', '1'],
    ['openai', { service_tier: 'auto' }, 'server', '1'],
    ['google', {}, 'google', '1'],
    ['google', { serviceTier: 'PRIORITY' }, 'google', '2.5'],
    ['anthropic', {}, 'anthropic', '1'],
    ['anthropic', { speed: 'fast' }, 'anthropic', '6'],
  ] as const)('%s %j at %s: %s times the rate', (kind, body, at, factor) => {
    expect(factorReached(request(kind, body, at))).toBe(factor);
  });

  it.each([
    ['claude-opus-5', {}, '1.1'],
    ['claude-sonnet-4-6', {}, '1.1'],
    ['claude-opus-5', { inference_geo: 'us' }, '1.1'],
    ['claude-opus-5', { inference_geo: 'global' }, '1'],
    ['claude-opus-5', { inference_geo: 'us', speed: 'fast' }, '6.6'],
    ['claude-haiku-4-5', {}, '1'],
    ['claude-sonnet-4-20250514', {}, '1'],
    ['claude-opus-4-1', {}, '1'],
    ['claude-3-5-haiku-latest', {}, '1'],
    ['kimi-k2', {}, '1'],
  ])('%s %j in its region: %s times the rate', (model, body, factor) => {
    expect(factorReached(request('anthropic', body, 'anthropic', model))).toBe(factor);
  });
});

const file = join(
  import.meta.dirname,
  '../../../../shared/data/llm/genai_prices_usages_dev.json.gz',
);
const absent = existsSync(file) ? '' : ' (skipped: ../shared/data is not here)';

describe(`884 usage bodies${absent}`, () => {
  it.skipIf(absent !== '')(
    'have no class that the widest request of their protocol does not reach',
    () => {
      const entries: { body: Body }[] = JSON.parse(gunzipSync(readFileSync(file)).toString());
      const readers = { openai: openAiUsage, anthropic: anthropicUsage, google: googleUsage };
      const widest = {
        openai: request('openai', { messages: [{ content: [{ type: 'file' }] }] }, 'server'),
        anthropic: request('anthropic', text, 'server'),
        google: request('google', { contents: [{ parts: [{}] }] }),
      };
      const fees = ['request', 'web_search'];
      const seen = new Set<string>();
      for (const { body } of entries) {
        for (const kind of ['openai', 'anthropic', 'google'] as const) {
          const { inputClasses, outputClasses } = classesReached(widest[kind]);
          const reached = new Set<string>([...inputClasses, ...outputClasses, ...fees]);
          const counts = readers[kind](body)?.counts ?? {};
          const missed = usageClasses.filter(
            (name) => (counts[name] ?? 0) > 0 && !reached.has(name),
          );
          expect([kind, missed]).toEqual([kind, []]);
          for (const name of Object.keys(counts)) seen.add(name);
        }
      }
      expect([...seen]).toEqual(
        expect.arrayContaining(['cache_write_1h', 'input_audio', 'reasoning']),
      );
    },
  );
});
