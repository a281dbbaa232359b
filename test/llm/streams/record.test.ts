/** Which figure of a chat completion is final, and what is known of one that has none. */
import { describe, expect, it } from 'vitest';
import { anthropicProtocol } from '../../../src/llm/anthropic.ts';
import { googleProtocol } from '../../../src/llm/google.ts';
import { openAiProtocol } from '../../../src/llm/openai.ts';
import { finalOf, recordOf } from './records.ts';

describe('a chat completion', () => {
  const text = (content: string) => ({ choices: [{ delta: { content }, finish_reason: null }] });
  const end = { choices: [{ delta: {}, finish_reason: 'stop' }] };
  const usage = (tokens: unknown) => ({ prompt_tokens: 1, completion_tokens: tokens });
  const last = (tokens: unknown) => ({ choices: [], usage: usage(tokens) });

  it.each<[string, readonly unknown[], number | undefined]>([
    ['in a last chunk without choices', [text('a'), end, last(5), '[DONE]'], 5],
    ['in the chunk with the reason of the end', [text('a'), { ...end, usage: usage(5) }], 5],
    [
      'in every chunk, the last counts',
      [
        { ...text('a'), usage: usage(1) },
        { ...end, usage: usage(5) },
      ],
      5,
    ],
    ['in a last chunk with an empty choice', [text('a'), end, { ...text(''), usage: usage(5) }], 5],
    ['without a reason of the end', [text('a'), last(5), '[DONE]'], 5],
    ['twice, the second counts', [text('a'), end, last(5), last(6)], 6],
    ['of zero', [end, last(0)], 0],
    [
      'with reasoning alone',
      [{ choices: [{ delta: { reasoning_content: 'hm' } }] }, end, last(7)],
      7,
    ],
    ['in the middle', [{ ...text('a'), usage: usage(1) }, text('b'), end, '[DONE]'], undefined],
    ['on the way, and cut', [{ ...text('a'), usage: usage(1) }], undefined],
    ['before the reason of the end', [{ ...text('a'), usage: usage(1) }, end, '[DONE]'], undefined],
    ['before the last text', [last(5), text('a'), end, '[DONE]'], undefined],
    [
      'after which a tool call comes',
      [
        last(5),
        { choices: [{ delta: { tool_calls: [{ index: 0, function: { arguments: '{' } }] } }] },
      ],
      undefined,
    ],
    ['of null', [text('a'), end, { choices: [], usage: null }, '[DONE]'], undefined],
    ['that makes no sense', [text('a'), end, last(-5)], undefined],
    ['that makes no sense after one that does', [text('a'), end, last(5), last('many')], undefined],
    ['nowhere', [text('a'), end, '[DONE]'], undefined],
  ])('with usage %s', (_name, events, expected) => {
    expect(finalOf(openAiProtocol, events)).toBe(expected);
  });

  it('of parts, a refusal and tool calls in pieces is put together', () => {
    const piece = (delta: object) => ({ choices: [{ delta }] });
    const { record, text } = recordOf(openAiProtocol, [
      piece({
        content: [
          { type: 'text', text: 'a' },
          { type: 'thinking', thinking: [] },
        ],
      }),
      piece({ refusal: 'b' }),
      piece({ tool_calls: [{ index: 1, id: 'two', function: { name: 'g', arguments: '{' } }] }),
      piece({ tool_calls: [{ index: 0, id: 'one', function: { name: 'f', arguments: '{"x"' } }] }),
      piece({
        tool_calls: [
          { index: 1, function: { arguments: '}' } },
          { index: 0, function: { arguments: ':1}' } },
        ],
      }),
    ]);
    expect(text).toBe('ab');
    expect(record.toolCalls).toEqual([
      { id: 'two', name: 'g', args: '{}', signature: '' },
      { id: 'one', name: 'f', args: '{"x":1}', signature: '' },
    ]);
  });

  it('names the model and the tier of its last chunks', () => {
    const named = { model: 'gpt-4o-mini-2024-07-18', service_tier: 'flex' };
    const { record } = recordOf(openAiProtocol, [{ ...text('a'), ...named }, end, last(5)]);
    expect(record.finalUsage).toMatchObject({ model: named.model, tier: 'flex' });
  });

  it('has a lower bound of its tokens: its events where each has whole tokens, its bytes elsewhere', () => {
    const events = [text('a'), text('b'), text(''), text('c')];
    expect(recordOf(openAiProtocol, events, true).record.receivedOutputTokens).toBe(3);
    expect(recordOf(openAiProtocol, events).record.receivedOutputTokens).toBe(1);
    const long = recordOf(openAiProtocol, [text('x'.repeat(1281))]).record;
    expect(long.receivedOutputTokens).toBe(11);
    const told = recordOf(openAiProtocol, [{ ...text('a'), usage: usage(40) }, text('b')]).record;
    expect(told.receivedOutputTokens).toBe(40);
    expect(recordOf(openAiProtocol, []).record.receivedOutputTokens).toBe(0);
  });
});

it.each([
  ['text', 'hello'],
  ['a list', '[]'],
  ['a number', '7'],
  ['null', 'null'],
  ['half of an object', '{"choices": ['],
])('an event that is %s makes the stream malformed', (_name, data) => {
  for (const protocol of [openAiProtocol, anthropicProtocol, googleProtocol]) {
    expect(recordOf(protocol, [data]).record).toMatchObject({
      isMalformed: true,
      finalUsage: undefined,
    });
  }
});
