/** Messages and tools through the same door, whole and as a stream, in every wire protocol. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseUsd } from '../../../src/budget/money.ts';
import type { LlmAnswer, LlmRequest } from '../../../src/llm/llm.ts';
import { llmAttempt, useProvider } from '../../support/llm-attempt.ts';
import type { LlmAttempt } from '../../support/llm-attempt.ts';
import { wireProtocols } from '../../support/provider-protocols.ts';
import type { WireProtocol } from '../../support/provider-protocols.ts';
import { addTenant } from '../../support/tenants.ts';

const apiKey = 'test-key-0123456789abcdef';
const models = { openai: 'gpt-4o-mini', anthropic: 'claude-haiku-4-5', google: 'gemini-2.5-flash' };

const fixture = useProvider({ apiKey, price: { model: 'input-only', input: 1, output: 0 } });

async function open(kind: WireProtocol, model = models[kind]) {
  const tenantId = await addTenant(fixture.database.sql, { limitUsd: '1' });
  const baseUrl = fixture.provider.urls[kind];
  return llmAttempt(fixture.database.sql, tenantId, { kind, model, apiKey, baseUrl });
}

/** Google has none. */
const anyId: unknown = expect.stringMatching(/\w{8}/);

const modes: Record<
  string,
  <T>(attempt: LlmAttempt, request: LlmRequest<T>) => Promise<LlmAnswer<T>>
> = {
  'a whole answer': ({ llm }, request) => llm.generate(request),
  'a stream': ({ llm }, request) => llm.stream(request).answer,
};

const costOf = {
  description: 'The cost of one service in USD.',
  input: z.object({ service: z.string(), months: z.number().optional() }),
};
const call = { id: 'call_1', name: 'cost_of', args: '{"service": "s3", "months": 2}' };
const asked = {
  type: 'tool_call',
  id: 'call_1',
  name: 'cost_of',
  input: { service: 's3' },
} as const;

describe.each(
  wireProtocols.flatMap((kind) => Object.entries(modes).map((mode) => [kind, ...mode] as const)),
)('of %s, %s', (kind, _mode, ask) => {
  it('to messages sends each with its role', async () => {
    const attempt = await open(kind);
    const { text } = await ask(attempt, {
      system: 'Be brief.',
      messages: [
        { role: 'system', content: 'Be kind.' },
        { role: 'user', content: 'How are' },
        { role: 'assistant', content: [{ type: 'text', text: 'What?' }] },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'the costs' },
            { type: 'text', text: '?' },
          ],
        },
      ],
      maxOutputTokens: 100,
    });
    expect(text).toBe('All is well.');
    const { body } = fixture.provider.received[0] ?? {};
    const system = 'Be brief.\n\nBe kind.';
    expect(
      {
        openai: body?.messages,
        anthropic: { system: body?.system, messages: body?.messages },
        google: { system: body?.systemInstruction, contents: body?.contents },
      }[kind],
    ).toEqual(
      {
        openai: [
          { role: 'system', content: system },
          { role: 'user', content: 'How are' },
          { role: 'assistant', content: 'What?' },
          {
            role: 'user',
            content: [
              { type: 'text', text: 'the costs' },
              { type: 'text', text: '?' },
            ],
          },
        ],
        anthropic: {
          system: [{ type: 'text', text: system }],
          messages: [
            { role: 'user', content: [{ type: 'text', text: 'How are' }] },
            { role: 'assistant', content: [{ type: 'text', text: 'What?' }] },
            {
              role: 'user',
              content: [
                { type: 'text', text: 'the costs' },
                { type: 'text', text: '?' },
              ],
            },
          ],
        },
        google: {
          system: { parts: [{ text: system }] },
          contents: [
            { role: 'user', parts: [{ text: 'How are' }] },
            { role: 'model', parts: [{ text: 'What?' }] },
            { role: 'user', parts: [{ text: 'the costs' }, { text: '?' }] },
          ],
        },
      }[kind],
    );
  });

  it('calls a tool with an input that its schema has parsed, charged like any answer', async () => {
    fixture.provider.script({ kind: 'stream', content: 'Let me see.', toolCalls: [call] });
    const attempt = await open(kind);
    const answer = await ask(attempt, {
      system: 'Be brief.',
      prompt: 'What does s3 cost?',
      tools: { cost_of: costOf },
      toolChoice: 'required',
      maxOutputTokens: 100,
    });
    expect(answer.text).toBe('Let me see.');
    expect(answer.toolCalls).toEqual([
      {
        id: kind === 'google' ? anyId : 'call_1',
        name: 'cost_of',
        input: { service: 's3', months: 2 },
        ...(kind === 'google' ? { signature: 'c2ln' } : {}),
      },
    ]);
    expect(parseUsd(answer.costUsd)).toBeGreaterThan(0n);
    expect(answer.usage.outputTokens).toBe(fixture.provider.billed[0]?.completion_tokens);
    const sent = fixture.provider.received[0]?.text ?? '';
    expect(sent).toContain('cost_of');
    expect(sent).toContain('The cost of one service in USD.');
    expect(sent).toMatch(/required|"any"|ANY/);
  });

  it('gets the result of a tool beside its call', async () => {
    const attempt = await open(kind);
    await ask(attempt, {
      messages: [
        { role: 'user', content: 'What does s3 cost?' },
        {
          role: 'assistant',
          content: [
            { type: 'text', text: '' },
            { ...asked, signature: 'c2ln' },
          ],
        },
        {
          role: 'tool',
          content: [{ type: 'tool_result', id: 'call_1', output: { usd: '12.50' } }],
        },
      ],
      tools: { cost_of: costOf },
      maxOutputTokens: 100,
    });
    const sent = fixture.provider.received[0]?.text ?? '';
    expect(sent.replaceAll('\\', '')).toMatch(/"service":"s3".*"usd":"12.50"/);
    expect(sent.match(/call_1/g)).toHaveLength(2);
    expect(sent.includes('c2ln')).toBe(kind !== 'anthropic');
  });

  it.each<[string, { id: string; name: string; args: string }, RegExp]>([
    [
      'an input that its schema refuses',
      { ...call, args: '{"service": 7}' },
      /tool cost_of: service: /,
    ],
    [
      'a tool that there is not',
      { ...call, name: 'drop_table' },
      /tool drop_table: there is no tool of this name/,
    ],
  ])('with %s fails, charged', async (_name, wrong, says) => {
    fixture.provider.script({ kind: 'stream', content: '', toolCalls: [wrong] });
    const attempt = await open(kind);
    const request = {
      system: '',
      prompt: 'Well?',
      tools: { cost_of: costOf },
      maxOutputTokens: 100,
    };
    await expect(ask(attempt, request)).rejects.toMatchObject({
      code: 'llm_output_invalid',
      details: { outcome: 'settled' },
      message: expect.stringMatching(says),
    });
  });

  it('has a hold that covers what the provider counts, tools included', async () => {
    const attempt = await open(kind, 'input-only');
    const answer = await ask(attempt, {
      messages: [{ role: 'user', content: '云计算成本分析显示存储费用上升。'.repeat(20) }],
      tools: { cost_of: costOf },
      maxOutputTokens: 100,
    });
    const [row] = await fixture.database.sql<{ hold: string }[]>`
        select estimated_cost_usd as hold from llm_reservations where tenant_id = ${attempt.tenantId}`;
    const { usage } = answer;
    expect(usage.inputTokens).toBe(fixture.provider.billed[0]?.prompt_tokens);
    // Beside the bytes of the request, what a provider may add for tools.
    const bytes = Buffer.byteLength(fixture.provider.received[0]?.text ?? '');
    expect(parseUsd(row?.hold ?? '0')).toBeGreaterThanOrEqual(BigInt(bytes + 1024) * 1000n);
    expect(parseUsd(row?.hold ?? '0')).toBeGreaterThanOrEqual(parseUsd(answer.costUsd));
  });
});
