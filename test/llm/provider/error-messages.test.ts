/** What providers say beside their status: bodies as Anthropic, Google and OpenAI write them. */
import { describe, expect, it } from 'vitest';
import { countersOf } from '../../support/holds.ts';
import { failingCall, faultyCall, useProvider } from '../../support/llm-attempt.ts';
import { wireProtocols } from '../../support/provider-protocols.ts';
import type { WireProtocol } from '../../support/provider-protocols.ts';

const fixture = useProvider();

async function failureOf(
  kind: WireProtocol,
  status: number,
  body: unknown,
  { headers = {}, apiKey }: { headers?: Record<string, string>; apiKey?: string } = {},
) {
  fixture.provider.script({ kind: 'status', status, headers, body: JSON.stringify(body) });
  const { tenantId, failure } = await failingCall(fixture.database.sql, {
    kind,
    baseUrl: fixture.provider.urls[kind],
    ...(apiKey === undefined ? {} : { apiKey }),
  });
  const error = await failure;
  expect(await countersOf(fixture.database.sql, tenantId)).toEqual({
    reserved: '0',
    spent: '0',
    unknown: '0',
  });
  return error;
}

const anthropic = (type: string, message: string) => ({
  type: 'error',
  error: { type, message },
  request_id: 'req_1',
});
const google = (code: number, status: string, message: string, ...details: object[]) => ({
  error: { code, status, message, details },
});
const retryInfo = (retryDelay: string) => ({
  '@type': 'type.googleapis.com/google.rpc.RetryInfo',
  retryDelay,
});
const reason = (word: string) => ({
  '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
  reason: word,
  domain: 'googleapis.com',
});
const openai = (code: string, message: string) => ({ error: { message, code } });
const exhausted = (...details: object[]) =>
  google(429, 'RESOURCE_EXHAUSTED', 'Quota exceeded for requests per minute.', ...details);

describe('the error body', () => {
  it.each<[string, WireProtocol, number, unknown, object]>([
    [
      'Google: a wrong key comes as 400 and is a wrong key',
      'google',
      400,
      google(400, 'INVALID_ARGUMENT', 'Pass a valid one.', reason('API_KEY_INVALID')),
      {
        code: 'llm_auth',
        message: expect.stringContaining('check GOOGLE_API_KEY'),
        details: { class: 'fatal', providerCode: 'API_KEY_INVALID' },
      },
    ],
    [
      'Google: an expired key, by its message alone',
      'google',
      400,
      google(400, 'INVALID_ARGUMENT', 'API key expired. Please renew the API key.'),
      { code: 'llm_auth', details: { class: 'fatal' } },
    ],
    [
      'Google: an exhausted quota has its retry delay in the body',
      'google',
      429,
      exhausted({ '@type': 'type.googleapis.com/google.rpc.Help' }, retryInfo('37s')),
      {
        code: 'llm_rate_limited',
        details: { class: 'snooze', retryAfterMs: 37_000, providerCode: 'RESOURCE_EXHAUSTED' },
      },
    ],
    [
      'Google: a delay of a fraction is at least a second',
      'google',
      429,
      exhausted(retryInfo('0.25s')),
      { details: { class: 'snooze', retryAfterMs: 1000 } },
    ],
    [
      'Google: an absurd delay is at most an hour',
      'google',
      429,
      exhausted(retryInfo('86400s')),
      { details: { class: 'snooze', retryAfterMs: 3_600_000 } },
    ],
    [
      'Google: an invalid delay is ignored',
      'google',
      429,
      exhausted(retryInfo('a while')),
      { code: 'llm_rate_limited', details: { class: 'retry' } },
    ],
    [
      'Google: an error inside of a list is the error',
      'google',
      429,
      [exhausted(retryInfo('12.5s'))],
      { details: { class: 'snooze', retryAfterMs: 12_500 } },
    ],
    [
      'Google: an overload may name its wait',
      'google',
      503,
      google(503, 'UNAVAILABLE', 'The model is overloaded.', retryInfo('9s')),
      { code: 'llm_overloaded', details: { class: 'snooze', retryAfterMs: 9000 } },
    ],
    [
      'Google: too many tokens for the model',
      'google',
      400,
      google(400, 'INVALID_ARGUMENT', 'The input token count (9) exceeds the maximum number of 8.'),
      {
        code: 'llm_request_too_large',
        message: expect.stringContaining('context of the model; send less evidence'),
        details: { class: 'fatal' },
      },
    ],
    [
      'Anthropic: no credit comes as 400 and waits for it',
      'anthropic',
      400,
      anthropic('invalid_request_error', 'Your credit balance is too low to access the API.'),
      {
        code: 'llm_quota_exhausted',
        message: expect.stringContaining('no credit; top it up'),
        details: { class: 'snooze', retryAfterMs: 900_000 },
      },
    ],
    [
      'Anthropic: too many tokens for the model',
      'anthropic',
      400,
      anthropic('invalid_request_error', 'prompt is too long: 9 tokens > 8 maximum'),
      { code: 'llm_request_too_large', details: { class: 'fatal' } },
    ],
    [
      'Anthropic: overloaded',
      'anthropic',
      529,
      anthropic('overloaded_error', 'Overloaded'),
      {
        code: 'llm_overloaded',
        message: expect.stringContaining('(the provider says: Overloaded)'),
        details: { class: 'retry', providerCode: 'overloaded_error' },
      },
    ],
    [
      'OpenAI: no credit comes as 429 and waits for it',
      'openai',
      429,
      openai('insufficient_quota', 'You exceeded it.'),
      { code: 'llm_quota_exhausted', details: { class: 'snooze', retryAfterMs: 900_000 } },
    ],
    [
      'OpenAI: too many tokens for the model',
      'openai',
      400,
      openai('context_length_exceeded', 'Too long.'),
      { code: 'llm_request_too_large', details: { class: 'fatal' } },
    ],
    [
      'words of a key in a failure of the server change nothing',
      'openai',
      500,
      openai('oops', 'API key not valid'),
      { code: 'llm_provider_error', details: { class: 'retry' } },
    ],
  ])('%s', async (_name, kind, status, body, expected) => {
    const error = await failureOf(kind, status, body);
    expect(error).toMatchObject(expected);
    const wait = 'details' in expected && JSON.stringify(expected.details).includes('retryAfterMs');
    expect('retryAfterMs' in error.details).toBe(wait);
  });

  it('a Retry-After header takes precedence over a delay in the body', async () => {
    const error = await failureOf('google', 429, exhausted(retryInfo('37s')), {
      headers: { 'retry-after': '5' },
    });
    expect(error.details['retryAfterMs']).toBe(5000);
  });

  it('a prompt that Google blocks has no candidate: it is fatal and charged', async () => {
    const promptFeedback = { blockReason: 'PROHIBITED_CONTENT' };
    const usageMetadata = { promptTokenCount: 20, totalTokenCount: 20 };
    fixture.provider.script({
      kind: 'raw',
      body: JSON.stringify({ promptFeedback, usageMetadata }),
    });
    const { failure } = await failingCall(fixture.database.sql, {
      kind: 'google',
      baseUrl: fixture.provider.urls.google,
    });
    expect(await failure).toMatchObject({
      code: 'llm_refused',
      details: { class: 'fatal', outcome: 'settled' },
    });
  });
});

describe.each(wireProtocols)('the words of %s', (kind) => {
  const error = (message: string) =>
    ({
      openai: openai('invalid_api_key', message),
      anthropic: anthropic('invalid_request_error', message),
      google: google(400, 'INVALID_ARGUMENT', message),
    })[kind];

  it.each([
    ['AIzaSyA-0123456789_abcdefghijklmnopqrstu', {}],
    ['sk-ant-api03-abcdef', {}],
    ['Zm9vYmFyYmF6+/0=', { apiKey: 'Zm9vYmFyYmF6+/0=' }],
  ])('are passed on without the key that they repeat: %s', async (key, options) => {
    const { message } = await failureOf(kind, 401, error(`Wrong key: ${key} and so on.`), options);
    expect(message).toContain('(the provider says: Wrong key: [key] and so on.)');
    expect(message).not.toContain(key);
  });

  it('is dropped where it repeats the prompt', async () => {
    const quoted = faultyCall.prompt.slice(10, 60);
    const { message, details } = await failureOf(kind, 400, error(`bad input: "${quoted}"`));
    expect(message).not.toContain('bad input');
    expect(JSON.stringify(details)).not.toContain(quoted);
  });
});
