/** The provider's own id of each request, and ours, which its logs list. */
import { describe, expect, it } from 'vitest';
import { anthropicProtocol } from '../../../src/llm/anthropic.ts';
import { googleProtocol } from '../../../src/llm/google.ts';
import { openAiProtocol } from '../../../src/llm/openai.ts';
import { requestIdOf } from '../../../src/llm/usage/request-id.ts';
import { faultyCall, llmAttempt, useProvider } from '../../support/llm-attempt.ts';
import { wireProtocols } from '../../support/provider-protocols.ts';
import type { WireProtocol } from '../../support/provider-protocols.ts';
import type { Scripted } from '../../support/provider.ts';
import { addTenant } from '../../support/tenants.ts';

const fixture = useProvider({ price: { model: 'ten-cents', input: 0, output: 1000 } });
const { apiKey, ...question } = faultyCall;

async function open(kind: WireProtocol) {
  const tenantId = await addTenant(fixture.database.sql, { limitUsd: '1' });
  const baseUrl = fixture.provider.urls[kind];
  const config = { kind, model: 'ten-cents', apiKey, baseUrl } as const;
  return llmAttempt(fixture.database.sql, tenantId, config);
}

/** Details with this id, or without any. */
const idIs = (requestId: string | undefined): unknown =>
  requestId === undefined
    ? expect.not.objectContaining({ requestId: expect.anything() })
    : expect.objectContaining({ requestId });

describe.each(wireProtocols)('a request to %s', (kind) => {
  it('is known by the ids of both sides, whole and as a stream', async () => {
    const { llm, tenantId } = await open(kind);
    await llm.generate(question);
    await llm.stream(question).answer;
    const { book } = fixture.provider;
    const rows = await fixture.database.sql<{ id: string; requestId: string }[]>`
      select id, request_id as "requestId" from llm_reservations
      where tenant_id = ${tenantId} order by created_at`;
    expect(rows.map(({ requestId }) => requestId)).toEqual(book.map(({ requestId }) => requestId));
    const own = rows.map(({ id }) => (kind === 'openai' ? id : undefined));
    expect(book.map(({ clientRequestId }) => clientRequestId)).toEqual(own);
  });

  /** Google tells it in the body of an answer alone. */
  const inHeader = kind === 'google' ? undefined : 'req-1';

  it.each<[string, Scripted, string | undefined]>([
    ['that is cut', { kind: 'cut' }, inHeader],
    ['without usage', { kind: 'answer', usage: null }, 'req-1'],
  ])(
    '%s stays charged under the id of the provider, as far as it told it',
    async (_name, script, id) => {
      fixture.provider.script(script);
      const { llm, tenantId } = await open(kind);
      await expect(llm.generate(question)).rejects.toMatchObject({
        details: { outcome: 'unknown' },
      });
      const kept = await fixture.database.sql`
        select status, request_id from llm_reservations where tenant_id = ${tenantId}`;
      expect(kept).toEqual([{ status: 'UNKNOWN', request_id: id ?? null }]);
    },
  );

  it.each<[string, Scripted]>([
    ['that is refused', { kind: 'status', status: 400 }],
    ['that is cut', { kind: 'cut' }],
  ])(
    '%s names the id of the provider in its error, as far as it told it',
    async (_name, script) => {
      fixture.provider.script(script);
      const { llm } = await open(kind);
      await expect(llm.generate(question)).rejects.toMatchObject({ details: idIs(inHeader) });
    },
  );
});

describe('the id', () => {
  it.each<
    [string, string | undefined, typeof openAiProtocol, Record<string, string>, object | undefined]
  >([
    [
      'of the header of OpenAI',
      'req-1',
      openAiProtocol,
      { 'x-request-id': 'req-1' },
      { id: 'c-1' },
    ],
    ['of the body of OpenRouter', 'gen-1', openAiProtocol, {}, { id: 'gen-1' }],
    [
      'of the header of Anthropic',
      'req-1',
      anthropicProtocol,
      { 'request-id': 'req-1' },
      { id: 'msg_1' },
    ],
    ['of an error of Anthropic', 'req-1', anthropicProtocol, {}, { request_id: 'req-1' }],
    [
      'of the body of Google',
      'r',
      googleProtocol,
      { 'x-request-id': 'other' },
      { responseId: 'r' },
    ],
    [
      'that is too long is cut',
      'x'.repeat(200),
      openAiProtocol,
      { 'x-request-id': 'x'.repeat(300) },
      {},
    ],
    ['that no column can hold is changed', 'a\uFFFD', openAiProtocol, {}, { id: 'a\u0000' }],
    ['that is no text is none', undefined, openAiProtocol, {}, { id: { id: 7 } }],
    ['that is not there', undefined, openAiProtocol, { 'x-request-id': '' }, undefined],
  ])('%s', (_name, expected, protocol, headers, body) => {
    expect(
      requestIdOf(protocol, new Headers(headers), body === undefined ? undefined : { ...body }),
    ).toBe(expected);
  });
});
