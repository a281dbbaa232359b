/** Answers that arrived, were paid for, and are of no use; in each wire protocol. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { LlmOutputError } from '../../src/llm/llm.ts';
import { countersOf } from '../support/holds.ts';
import { faultyCall, llmAttempt, useProvider } from '../support/llm-attempt.ts';
import { wireProtocols } from '../support/provider-protocols.ts';
import { addTenant } from '../support/tenants.ts';

const schema = z.object({ summary: z.string(), score: z.number() });
const bill = { prompt_tokens: 1000, completion_tokens: 50 };

const fixture = useProvider({
  apiKey: faultyCall.apiKey,
  price: { model: 'a-dollar-per-mtok', input: 1, output: 1 },
});

describe.each(wireProtocols)('an answer of no use, in the protocol of %s', (kind) => {
  async function ask(withSchema = true) {
    const tenantId = await addTenant(fixture.database.sql, { limitUsd: '1' });
    const { llm } = await llmAttempt(fixture.database.sql, tenantId, {
      kind,
      model: 'a-dollar-per-mtok',
      apiKey: faultyCall.apiKey,
      baseUrl: fixture.provider.urls[kind],
    });
    const request = { ...faultyCall, ...(withSchema ? { schema } : {}) };
    const outcome = await llm.generate(request).catch((error: unknown) => error);
    return { outcome, tenantId };
  }
  /** 1,050 tokens at one dollar per million. */
  const paid = { reserved: '0', spent: '0.00105', unknown: '0' };

  it.each([
    ['prose', 'The costs look fine to me.', /not JSON/],
    ['broken JSON', '{"summary": "ok", "score": ', /not JSON/],
    ['the wrong schema', '{"summary": 7}', /summary: .*; score: /],
    ['nothing', '', /the answer is empty/],
    ['a list', '[1, 2]', /object/],
  ])('%s is an LlmOutputError with text and issues, and charged', async (_name, content, says) => {
    fixture.provider.answerWith(content, bill);
    const { outcome, tenantId } = await ask();
    expect(outcome).toBeInstanceOf(LlmOutputError);
    expect(outcome).toMatchObject({
      code: 'llm_output_invalid',
      text: content,
      message: expect.stringMatching(says),
      details: { class: 'retry', outcome: 'settled' },
    });
    expect(await countersOf(fixture.database.sql, tenantId)).toEqual(paid);
  });

  it('one that was cut at the cap names the cap in its error', async () => {
    fixture.provider.answerWith('{"summary": "a long', bill);
    fixture.provider.script({ kind: 'answer', finishReason: 'length' });
    const { outcome, tenantId } = await ask();
    expect(outcome).toMatchObject({
      code: 'llm_output_invalid',
      message: expect.stringContaining('truncated at maxOutputTokens (100)'),
    });
    expect(await countersOf(fixture.database.sql, tenantId)).toEqual(paid);
  });

  it('one that was cut after thinking names the tokens that thinking used', async () => {
    const usage = {
      ...bill,
      completion_tokens_details: { reasoning_tokens: 40 },
      input_tokens: 1000,
      output_tokens: 50,
      output_tokens_details: { thinking_tokens: 40 },
      promptTokenCount: 1000,
      candidatesTokenCount: 10,
      thoughtsTokenCount: 40,
    };
    fixture.provider.script({ kind: 'answer', content: '', finishReason: 'length', usage });
    const { outcome, tenantId } = await ask();
    expect(outcome).toMatchObject({
      message: expect.stringContaining('maxOutputTokens (100), 40 of them for reasoning'),
    });
    expect(await countersOf(fixture.database.sql, tenantId)).toEqual(paid);
  });

  it.each([true, false])(
    'a refusal by a content filter is fatal and charged; schema: %s',
    async (withSchema) => {
      fixture.provider.answerWith('', bill);
      fixture.provider.script({ kind: 'answer', finishReason: 'refused' });
      const { outcome, tenantId } = await ask(withSchema);
      expect(outcome).toMatchObject({
        code: 'llm_refused',
        message: expect.stringMatching(/content filter.*change the prompt/),
        details: { class: 'fatal', outcome: 'settled' },
      });
      expect(await countersOf(fixture.database.sql, tenantId)).toEqual(paid);
    },
  );

  it('a body of another protocol is refused, and settled where it has usage', async () => {
    const usage = { input_tokens: 1000, output_tokens: 50, ...bill };
    const usageMetadata = { promptTokenCount: 1000, candidatesTokenCount: 50 };
    fixture.provider.script({
      kind: 'raw',
      body: JSON.stringify({ usage, usageMetadata, content: 7, candidates: 7 }),
    });
    const { outcome, tenantId } = await ask();
    expect(outcome).toMatchObject({
      code: 'llm_bad_response',
      message: expect.stringMatching(/a body that is not a valid answer in the .* protocol/),
      details: { class: 'retry', outcome: 'settled' },
    });
    expect(await countersOf(fixture.database.sql, tenantId)).toEqual(paid);
  });
});
