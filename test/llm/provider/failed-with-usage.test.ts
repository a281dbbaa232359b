/** A failed request that was billed, or may have been, is never released. */
import { describe, expect, it } from 'vitest';
import { failureOfStatus } from '../../../src/llm/failures.ts';
import { countersOf } from '../../support/holds.ts';
import { failingCall, useProvider } from '../../support/llm-attempt.ts';
import type { WireProtocol } from '../../support/provider-protocols.ts';

const fixture = useProvider({ price: { model: 'dollar', input: 1, output: 1 } });

async function fail(kind: WireProtocol, status: number, body: object) {
  fixture.provider.script({ kind: 'status', status, body: JSON.stringify(body) });
  const call = await failingCall(fixture.database.sql, {
    kind,
    baseUrl: fixture.provider.urls[kind],
    model: 'dollar',
  });
  const error = await call.failure;
  const { reserved, spent, unknown } = await countersOf(fixture.database.sql, call.tenantId);
  expect(reserved).toBe('0');
  return { error, spent, unknown };
}

const filtered = { code: 'content_filter', message: 'The response was filtered' };
const usage = { prompt_tokens: 900, completion_tokens: 0, total_tokens: 900 };

describe('a failed request with usage in its body is settled', () => {
  it.each<[string, WireProtocol, number, object]>([
    ['content filter', 'openai', 400, { error: filtered, usage }],
    ['server error', 'openai', 500, { error: { message: 'lost' }, usage }],
    ['usage in the error', 'openai', 429, { error: { message: 'slow down', usage } }],
    ['usage in the response', 'openai', 502, { response: { usage } }],
    [
      'responses',
      'openai',
      400,
      { error: filtered, usage: { input_tokens: 900, output_tokens: 0 } },
    ],
    [
      'Anthropic',
      'anthropic',
      529,
      { type: 'error', usage: { input_tokens: 900, output_tokens: 0 } },
    ],
    [
      'Google',
      'google',
      503,
      { error: {}, usageMetadata: { promptTokenCount: 900, totalTokenCount: 900 } },
    ],
  ])('%s', async (_name, kind, status, body) => {
    const { error, spent, unknown } = await fail(kind, status, body);
    expect(error.details).toMatchObject({ outcome: 'settled', providerStatus: status });
    expect(error.message).toContain('was charged');
    expect({ spent, unknown }).toEqual({ spent: '0.0009', unknown: '0' });
  });

  it('an explicit zero is settled at zero', async () => {
    const none = { prompt_tokens: 0, completion_tokens: 0 };
    const { spent, unknown } = await fail('openai', 500, { error: {}, usage: none });
    expect({ spent, unknown }).toEqual({ spent: '0', unknown: '0' });
  });
});

describe('a failed request that may have been billed stays charged at its hold', () => {
  it.each<[string, WireProtocol, number, object]>([
    ['usage that cannot be read', 'openai', 500, { error: {}, usage: { tokens: 900 } }],
    ['usage of another protocol', 'anthropic', 400, { error: { usage } }],
    ['a content filter', 'openai', 400, { error: filtered }],
    [
      'a content filter, by its message',
      'openai',
      400,
      {
        error: {
          message:
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        },
      },
    ],
  ])('%s', async (_name, kind, status, body) => {
    const { error, spent, unknown } = await fail(kind, status, body);
    expect(error.details).toMatchObject({ outcome: 'unknown' });
    expect(error.message).toContain('stays charged');
    expect(spent).toBe('0');
    expect(Number(unknown)).toBeGreaterThan(0);
  });

  it('a request above the input limit of Azure, but not one of OpenAI', () => {
    const outcomeAt = (host: string) =>
      failureOfStatus(400, {
        host,
        protocol: { apiKeyVariable: 'KEY', baseUrlVariable: 'URL' },
        model: 'm',
        providerError: { topic: 'size' },
      }).details['outcome'];
    expect(outcomeAt('example.openai.azure.com')).toBe('unknown');
    expect(outcomeAt('api.openai.com')).toBe('released');
  });
});

it('a failed request without usage is released', async () => {
  const { error, spent, unknown } = await fail('openai', 400, { error: { message: 'no' } });
  expect(error.details).toMatchObject({ outcome: 'released' });
  expect({ spent, unknown }).toEqual({ spent: '0', unknown: '0' });
});
