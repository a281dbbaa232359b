/** Answers that call tools beside those that do not: with a schema, cut, several at once, and offline. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { llmAttempt, useProvider } from '../../support/llm-attempt.ts';
import { wireProtocols } from '../../support/provider-protocols.ts';
import type { WireProtocol } from '../../support/provider-protocols.ts';
import { addTenant } from '../../support/tenants.ts';

const apiKey = 'test-key-0123456789abcdef';
const models = { openai: 'gpt-4o-mini', anthropic: 'claude-haiku-4-5', google: 'gemini-2.5-flash' };

const fixture = useProvider({ apiKey });

async function open(kind: WireProtocol) {
  const model = models[kind];
  const tenantId = await addTenant(fixture.database.sql, { limitUsd: '1' });
  const baseUrl = fixture.provider.urls[kind];
  return llmAttempt(fixture.database.sql, tenantId, { kind, model, apiKey, baseUrl });
}

const costOf = {
  description: 'The cost of one service in USD.',
  input: z.object({ service: z.string(), months: z.number().optional() }),
};
const call = { id: 'call_1', name: 'cost_of', args: '{"service": "s3", "months": 2}' };
describe('an answer to a request with a schema and tools', () => {
  const schema = z.object({ summary: z.string() });
  const request = {
    messages: [{ role: 'user', content: 'Well?' }],
    tools: { cost_of: costOf },
    schema,
    maxOutputTokens: 100,
  } as const;

  it.each(wireProtocols)(
    'of %s is an object, or calls tools, and asks for no JSON mode',
    async (kind) => {
      const attempt = await open(kind);
      fixture.provider.script({ kind: 'stream', content: '', toolCalls: [call] });
      fixture.provider.answerWith('{"summary": "ok"}');
      const called = await attempt.llm.stream(request).answer;
      expect(called).toMatchObject({ toolCalls: [{ name: 'cost_of' }] });
      expect(called).not.toHaveProperty('object');
      const { object } = await attempt.llm.generate(request);
      expect(object).toEqual({ summary: 'ok' });
      for (const { body } of fixture.provider.received) {
        expect(body.response_format).toBeUndefined();
        expect(body.generationConfig?.responseMimeType).toBeUndefined();
      }
    },
  );
});

it('a tool that a stream cuts in its input fails, and several tools are called in order', async () => {
  const attempt = await open('openai');
  const request = { system: '', prompt: 'Well?', tools: { cost_of: costOf }, maxOutputTokens: 100 };
  fixture.provider.script({
    kind: 'stream',
    content: '',
    finishReason: 'length',
    toolCalls: [{ ...call, args: '{"service": "s' }],
  });
  await expect(attempt.llm.stream(request).answer).rejects.toThrow(
    /tool cost_of: its input is not JSON/,
  );
  fixture.provider.script({
    kind: 'stream',
    content: '',
    toolCalls: [call, { id: 'call_2', name: 'cost_of', args: '{"service":"ec2"}' }],
  });
  const { toolCalls } = await attempt.llm.stream(request).answer;
  expect(toolCalls).toMatchObject([{ id: 'call_1' }, { id: 'call_2', input: { service: 'ec2' } }]);
});

it('the offline analyst reads what users wrote', async () => {
  const tenantId = await addTenant(fixture.database.sql);
  const prompts: string[] = [];
  const analyst = {
    model: 'offline-analyst',
    answers: ({ prompt }: { prompt: string }) => {
      prompts.push(prompt);
      return ['Fine.'];
    },
  };
  const config = { kind: 'offline', analyst } as const;
  const { llm } = await llmAttempt(fixture.database.sql, tenantId, config);
  const messages = [
    { role: 'user', content: 'How are' },
    { role: 'assistant', content: 'What?' },
    { role: 'user', content: 'the costs?' },
  ] as const;
  let text = '';
  for await (const more of llm.stream({ messages, maxOutputTokens: 100 })) text += more;
  expect([text, prompts]).toEqual(['Fine.', ['How are\nthe costs?']]);
});
