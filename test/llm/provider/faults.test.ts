/**
 * A provider on a bad day, in each wire protocol: every fault with its class for the job, its outcome
 * for the money, and the words that an operator reads.
 */
import { describe, expect, it } from 'vitest';
import { countersOf } from '../../support/holds.ts';
import { failingCall, useProvider } from '../../support/llm-attempt.ts';
import { wireProtocols } from '../../support/provider-protocols.ts';
import { hugeBytes } from '../../support/provider.ts';
import type { Scripted } from '../../support/provider.ts';

const fixture = useProvider();

const released = { reserved: '0', spent: '0', unknown: '0' };
const unknown = { reserved: '0', spent: '0', unknown: '0.1' };

interface Expected {
  readonly code: string;
  readonly class: string;
  readonly outcome: string;
  readonly retryAfterMs?: number;
  /** `{key}` and `{url}` stand for the variables of the protocol. */
  readonly says: string;
}
const status = (code: number, headers: Record<string, string> = {}): Scripted => ({
  kind: 'status',
  status: code,
  headers,
});
const fatal = (code: string, says: string): Expected => ({
  code,
  class: 'fatal',
  outcome: 'released',
  says,
});
const retry = (code: string, says: string): Expected => ({
  code,
  class: 'retry',
  outcome: 'released',
  says,
});
const snooze = (code: string, retryAfterMs: number, says: string): Expected => ({
  code,
  class: 'snooze',
  outcome: 'released',
  retryAfterMs,
  says,
});
const charged = (code: string, says: string): Expected => ({
  code,
  class: 'retry',
  outcome: 'unknown',
  says,
});
const keptAtWorst = 'may have been billed, so its worst case stays charged';

const faults: [string, Scripted, Expected][] = [
  ['400', status(400), fatal('llm_bad_request', 'refused as wrong and would be again')],
  ['401', status(401), fatal('llm_auth', 'the API key is refused; check {key}')],
  ['402', status(402), snooze('llm_quota_exhausted', 900_000, 'has no credit; top it up')],
  ['403', status(403), fatal('llm_forbidden', 'the API key in {key} may not use this model')],
  ['404', status(404), fatal('llm_model_not_found', 'no such model or path; check LLM_MODEL and')],
  ['404 names the address', status(404), fatal('llm_model_not_found', 'LLM_MODEL and {url}')],
  ['408', status(408), charged('llm_timeout', keptAtWorst)],
  ['409', status(409), retry('llm_conflict', 'busy with the same request')],
  ['413', status(413), fatal('llm_request_too_large', 'too large; send less evidence')],
  ['418', status(418), fatal('llm_bad_request', 'the request is refused')],
  ['422', status(422), fatal('llm_bad_request', 'refused as wrong')],
  ['425', status(425), retry('llm_too_early', 'asks to try again')],
  [
    '429 without Retry-After',
    status(429),
    retry('llm_rate_limited', 'raise its limit there or lower WORKER_CONCURRENCY'),
  ],
  [
    '429 with Retry-After in seconds',
    status(429, { 'retry-after': '7' }),
    snooze('llm_rate_limited', 7000, 'too many requests or tokens for this key'),
  ],
  [
    '429 with an absurd Retry-After',
    status(429, { 'retry-after': '99999999' }),
    snooze('llm_rate_limited', 3_600_000, 'too many'),
  ],
  [
    '429 with an invalid Retry-After',
    status(429, { 'retry-after': 'soon' }),
    retry('llm_rate_limited', 'too many'),
  ],
  ['500', status(500), retry('llm_provider_error', 'failed; it is asked again later')],
  ['502', status(502), charged('llm_gateway_error', keptAtWorst)],
  ['503', status(503), retry('llm_overloaded', 'overloaded; it is asked again later')],
  [
    '503 with Retry-After',
    status(503, { 'retry-after': '20' }),
    snooze('llm_overloaded', 20_000, 'overloaded; it is asked again later'),
  ],
  ['504', status(504), charged('llm_gateway_error', keptAtWorst)],
  ['529', status(529), retry('llm_overloaded', 'overloaded; it is asked again later')],
  [
    '529 with Retry-After',
    status(529, { 'retry-after': '3' }),
    snooze('llm_overloaded', 3000, 'overloaded; it is asked again later'),
  ],
  [
    'a redirect, which is not followed',
    status(307, { location: 'http://127.0.0.1:9/' }),
    fatal('llm_redirected', 'the address redirects; set {url} to its target'),
  ],
  ['a cut connection', { kind: 'cut' }, charged('llm_connection_lost', keptAtWorst)],
  ['an empty body', { kind: 'raw', body: '' }, charged('llm_bad_response', 'with an empty body')],
  [
    'a page of HTML',
    { kind: 'raw', body: '<html>Welcome</html>' },
    charged('llm_bad_response', 'check that {url} speaks the '),
  ],
  [
    'an answer without usage',
    { kind: 'answer', usage: null },
    charged(
      'llm_bad_response',
      'a body without usage that can be read; the worst case stays charged',
    ),
  ],
  [
    'usage that makes no sense',
    {
      kind: 'answer',
      usage: { prompt_tokens: 1e15, input_tokens: -1, output_tokens: 1, promptTokenCount: '12' },
    },
    charged('llm_bad_response', 'without usage'),
  ],
  [
    'a body of 100 MB',
    { kind: 'huge' },
    {
      code: 'llm_response_too_large',
      class: 'fatal',
      outcome: 'unknown',
      says: 'sent more than 1048576 bytes for an answer of at most 100 tokens; check {url}',
    },
  ],
  ['500 with a body of 100 MB', { kind: 'huge', status: 500 }, retry('llm_provider_error', '500')],
];

describe.each(wireProtocols)('a provider on a bad day, in the protocol of %s', (kind) => {
  const variable = kind.toUpperCase();

  it.each(faults)('%s', async (_name, scripted, expected) => {
    fixture.provider.script(scripted);
    const { tenantId, failure } = await failingCall(fixture.database.sql, {
      kind,
      baseUrl: fixture.provider.urls[kind],
    });
    const error = await failure;
    expect(error).toMatchObject({
      name: 'LlmError',
      code: expected.code,
      details: { class: expected.class, outcome: expected.outcome },
    });
    expect(error.details['retryAfterMs']).toBe(expected.retryAfterMs);
    const says = expected.says
      .replace('{key}', `${variable}_API_KEY`)
      .replace('{url}', `${variable}_BASE_URL`);
    expect(error.message).toContain(says);
    expect(error.message).toContain(new URL(fixture.provider.url).host);
    expect(`${error.stack}${JSON.stringify(error)}`).not.toMatch(/sk-test|umbrellas/);
    expect(error.cause).toBeUndefined();
    expect(await countersOf(fixture.database.sql, tenantId)).toEqual(
      expected.outcome === 'unknown' ? unknown : released,
    );
    expect(fixture.provider.received).toHaveLength(1);
    expect(fixture.provider.hugeBytesSent()).toBeLessThan(hugeBytes / 2);
  });

  it('429 with Retry-After as a date snoozes until that date', async () => {
    fixture.provider.script(
      status(429, { 'retry-after': new Date(Date.now() + 120_000).toUTCString() }),
    );
    const { failure } = await failingCall(fixture.database.sql, {
      kind,
      baseUrl: fixture.provider.urls[kind],
    });
    const { details } = await failure;
    expect(details['class']).toBe('snooze');
    expect(details['retryAfterMs']).toBeGreaterThan(60_000);
    expect(details['retryAfterMs']).toBeLessThanOrEqual(120_000);
  });

  it('the message of the provider is part of the error', async () => {
    fixture.provider.script(status(500));
    const { failure } = await failingCall(fixture.database.sql, {
      kind,
      baseUrl: fixture.provider.urls[kind],
    });
    expect((await failure).message).toContain('(the provider says: This is scripted: 500.)');
  });

  it('a message of the provider that names the model is kept', async () => {
    const model = 'a-model-with-a-name-of-some-length';
    const body = JSON.stringify({ error: { message: `No access to ${model} in this region.` } });
    fixture.provider.script({ kind: 'status', status: 404, body });
    const { failure } = await failingCall(fixture.database.sql, {
      kind,
      model,
      baseUrl: fixture.provider.urls[kind],
    });
    expect((await failure).message).toContain(`says: No access to ${model} in this region.)`);
  });
});
