/** A provider on a bad day: every answer with its class for the job, its outcome for the money, its words. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { assertBooksRight } from '../support/books.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { countersOf } from '../support/holds.ts';
import { failingCall, faultyCall } from '../support/llm-attempt.ts';
import { startProvider } from '../support/provider.ts';
import type { Scripted, TestProvider } from '../support/provider.ts';

let database: TestDatabase;
let provider: TestProvider;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.close());
beforeEach(async () => {
  provider = await startProvider();
});
afterEach(async () => {
  await provider.stop();
  await assertBooksRight(database.sql);
});

const callOnce = (options: { baseUrl?: string; timeoutMs?: number } = {}) =>
  failingCall(database.sql, { baseUrl: provider.url, ...options });

const released = { reserved: '0', spent: '0', unknown: '0' };
const unknown = { reserved: '0', spent: '0', unknown: '0.1' };

type Expected = {
  code: string;
  class: string;
  outcome: string;
  says: RegExp;
  retryAfterMs?: number;
};
const status = (code: number, headers?: Record<string, string>, body?: string): Scripted => ({
  kind: 'status',
  status: code,
  ...(headers === undefined ? {} : { headers }),
  ...(body === undefined ? {} : { body }),
});
const quota = JSON.stringify({
  error: { message: 'You exceeded it.', code: 'insufficient_quota' },
});
const context = JSON.stringify({
  error: { message: 'Too long.', code: 'context_length_exceeded' },
});

const fatal = (code: string, says: RegExp): Expected => ({
  code,
  class: 'fatal',
  outcome: 'released',
  says,
});
const retry = (code: string, outcome: string, says: RegExp): Expected => ({
  code,
  class: 'retry',
  outcome,
  says,
});

const faults: [string, Scripted, Expected][] = [
  ['400', status(400), fatal('llm_bad_request', /400 for model ten-cents/)],
  ['400 for a long context', status(400, {}, context), fatal('llm_request_too_large', /less/)],
  ['401', status(401), fatal('llm_auth', /OPENAI_API_KEY/)],
  ['403', status(403), fatal('llm_forbidden', /may not use this model/)],
  ['404', status(404), fatal('llm_model_not_found', /LLM_MODEL and OPENAI_BASE_URL/)],
  ['413', status(413), fatal('llm_request_too_large', /too large/)],
  ['418', status(418), fatal('llm_bad_request', /418/)],
  ['422', status(422), fatal('llm_bad_request', /422/)],
  [
    'a redirect',
    status(307, { location: 'http://127.0.0.1:9/' }),
    fatal('llm_redirected', /target/),
  ],
  ['408', status(408), retry('llm_timeout', 'unknown', /worst case stays charged/)],
  ['409', status(409), retry('llm_conflict', 'released', /409/)],
  ['425', status(425), retry('llm_too_early', 'released', /425/)],
  ['429 without Retry-After', status(429), retry('llm_rate_limited', 'released', /too many/)],
  [
    '429 with Retry-After in seconds',
    status(429, { 'retry-after': '7' }),
    { ...retry('llm_rate_limited', 'released', /too many/), class: 'snooze', retryAfterMs: 7000 },
  ],
  [
    '429 with an absurd Retry-After',
    status(429, { 'retry-after': '99999999' }),
    { ...retry('llm_rate_limited', 'released', /./), class: 'snooze', retryAfterMs: 3_600_000 },
  ],
  [
    '429 for an empty account',
    status(429, {}, quota),
    {
      ...retry('llm_quota_exhausted', 'released', /top it up/),
      class: 'snooze',
      retryAfterMs: 900_000,
    },
  ],
  ['500', status(500), retry('llm_provider_error', 'released', /failed/)],
  ['502', status(502), retry('llm_gateway_error', 'unknown', /worst case stays charged/)],
  ['503', status(503), retry('llm_overloaded', 'released', /overloaded/)],
  ['504', status(504), retry('llm_gateway_error', 'unknown', /worst case stays charged/)],
  ['529', status(529), retry('llm_overloaded', 'released', /overloaded/)],
  ['a cut connection', { kind: 'cut' }, retry('llm_connection_lost', 'unknown', /broke after/)],
  ['an empty body', { kind: 'raw', body: '' }, retry('llm_bad_response', 'unknown', /empty body/)],
  [
    'a page of HTML',
    { kind: 'raw', body: '<html>Welcome</html>' },
    retry('llm_bad_response', 'unknown', /OPENAI_BASE_URL/),
  ],
  [
    'an answer without usage',
    { kind: 'answer', usage: null },
    retry('llm_bad_response', 'unknown', /without usage/),
  ],
  [
    'usage that makes no sense',
    { kind: 'answer', usage: { prompt_tokens: 1e15, completion_tokens: 1 } },
    retry('llm_bad_response', 'unknown', /without usage/),
  ],
  [
    'an endless body',
    { kind: 'endless' },
    { code: 'llm_response_too_large', class: 'fatal', outcome: 'unknown', says: /1048576 bytes/ },
  ],
];

describe('a provider on a bad day', () => {
  it.each(faults)('%s', async (_name, scripted, expected) => {
    provider.script(scripted);
    const { tenantId, failure } = await callOnce();
    const error = await failure;
    expect(error).toMatchObject({
      name: 'LlmError',
      code: expected.code,
      details: { class: expected.class, outcome: expected.outcome },
    });
    expect(error.details['retryAfterMs']).toBe(expected.retryAfterMs);
    expect(error.message).toMatch(expected.says);
    expect(`${error.message}${JSON.stringify(error.details)}`).not.toMatch(/sk-test|umbrellas/);
    expect(await countersOf(database.sql, tenantId)).toEqual(
      expected.outcome === 'unknown' ? unknown : released,
    );
    expect(provider.received).toHaveLength(1);
  });

  it('429 with Retry-After as a date snoozes until then', async () => {
    const at = new Date(Date.now() + 120_000).toUTCString();
    provider.script(status(429, { 'retry-after': at }));
    const error = await (await callOnce()).failure;
    expect(error.details['class']).toBe('snooze');
    expect(error.details['retryAfterMs']).toBeGreaterThan(60_000);
    expect(error.details['retryAfterMs']).toBeLessThanOrEqual(120_000);
  });

  it('what the provider says is passed on, without the key it repeats', async () => {
    const message = `Incorrect API key provided: ${faultyCall.apiKey}. Find it on your account page.`;
    provider.script(
      status(401, {}, JSON.stringify({ error: { message, code: 'invalid_api_key' } })),
    );
    const error = await (await callOnce()).failure;
    expect(error.message).toContain('Incorrect API key provided: [key]. Find it');
    expect(error.details['providerCode']).toBe('invalid_api_key');
  });

  it('what the provider says is dropped where it repeats the prompt', async () => {
    const message = `bad input: "${faultyCall.prompt.slice(10, 60)}"`;
    provider.script(status(400, {}, JSON.stringify({ error: { message } })));
    const error = await (await callOnce()).failure;
    expect(error.message).not.toContain('bad input');
  });
});
