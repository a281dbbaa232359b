/** Which figure of a message, and of a stream of generateContent, is final. */
import { describe, expect, it } from 'vitest';
import { anthropicProtocol } from '../../../src/llm/anthropic.ts';
import { googleProtocol } from '../../../src/llm/google.ts';
import { finalOf, recordOf } from './records.ts';

describe('a message', () => {
  const start = {
    type: 'message_start',
    message: {
      id: 'msg_1',
      model: 'm',
      usage: {
        input_tokens: 9,
        output_tokens: 1,
        cache_read_input_tokens: 3,
        service_tier: 'priority',
      },
    },
  };
  const text = { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'a' } };
  const delta = (usage: object | undefined, reason: string | null = 'end_turn') => ({
    type: 'message_delta',
    delta: { stop_reason: reason },
    ...(usage === undefined ? {} : { usage }),
  });
  const stop = { type: 'message_stop' };

  it.each<[string, readonly unknown[], number | undefined]>([
    ['with the reason of the end', [start, text, delta({ output_tokens: 5 }), stop], 5],
    [
      'with the reason of the end, cut before the stop',
      [start, text, delta({ output_tokens: 5 })],
      5,
    ],
    [
      'twice, the second counts',
      [start, text, delta({ output_tokens: 5 }), delta({ output_tokens: 6 }), stop],
      6,
    ],
    [
      'without a reason, confirmed by the stop',
      [start, text, delta({ output_tokens: 5 }, null), stop],
      5,
    ],
    ['at the start alone', [start, text, delta(undefined), stop], undefined],
    ['at the start alone, without output', [start, delta(undefined), stop], undefined],
    ['without a reason, and cut', [start, text, delta({ output_tokens: 5 }, null)], undefined],
    [
      'in the middle',
      [start, delta({ output_tokens: 1 }, null), text, delta(undefined), stop],
      undefined,
    ],
    ['nowhere', [{ type: 'message_start', message: {} }, text, delta(undefined), stop], undefined],
    ['that makes no sense', [start, text, delta({ output_tokens: 1.5 }), stop], undefined],
  ])('with its usage %s', (_name, events, expected) => {
    expect(finalOf(anthropicProtocol, events)).toBe(expected);
  });

  it('adds the input of its start to the output of its end, and what the end says instead', () => {
    const { record } = recordOf(anthropicProtocol, [
      start,
      delta({
        output_tokens: 5,
        input_tokens: 10,
        cache_read_input_tokens: null,
        output_tokens_details: { thinking_tokens: 2 },
      }),
      stop,
    ]);
    expect(record.finalUsage).toMatchObject({
      counts: { input: 10, cache_read: 3, output: 3, reasoning: 2 },
      model: 'm',
      tier: 'priority',
    });
    expect(record).toMatchObject({ requestId: 'msg_1', hasEnded: true, isWhole: true });
  });

  it('reports the output so far, which is the lower bound', () => {
    const { record } = recordOf(anthropicProtocol, [
      start,
      delta({ output_tokens: 77 }, null),
      text,
    ]);
    expect(record.receivedOutputTokens).toBe(77);
  });

  it('shows no call of a tool that the provider runs itself', () => {
    const block = {
      type: 'content_block_start',
      index: 1,
      content_block: { type: 'server_tool_use', id: 's', name: 'web_search' },
    };
    const input = {
      type: 'content_block_delta',
      index: 1,
      delta: { type: 'input_json_delta', partial_json: '{}' },
    };
    expect(recordOf(anthropicProtocol, [start, block, input]).record.toolCalls).toEqual([]);
  });

  it('ignores events that it does not know, whatever they have', () => {
    const odd = [
      { type: 'toString' },
      { type: 'content_block_delta' },
      { type: 7 },
      { type: 'content_block_start', content_block: [] },
    ];
    expect(recordOf(anthropicProtocol, odd).text).toBe('');
  });
});

describe('a stream of generateContent', () => {
  const part = (text: string, more: object = {}) => ({
    candidates: [{ content: { parts: [{ text }] }, ...more }],
  });
  const usage = (tokens: number) => ({
    usageMetadata: {
      promptTokenCount: 9,
      candidatesTokenCount: tokens,
      totalTokenCount: 9 + tokens,
    },
  });
  const last = { finishReason: 'STOP' };

  it.each<[string, readonly unknown[], number | undefined]>([
    [
      'with the reason of the end',
      [
        { ...part('a'), ...usage(1) },
        { ...part('b', last), ...usage(5) },
      ],
      5,
    ],
    ['after the reason of the end', [part('a', last), usage(5)], 5],
    [
      'of a prompt that is blocked',
      [{ promptFeedback: { blockReason: 'SAFETY' }, ...usage(0) }],
      0,
    ],
    ['on the way alone', [{ ...part('a'), ...usage(5) }, part('b', last)], undefined],
    ['on the way, and cut', [{ ...part('a'), ...usage(5) }], undefined],
    [
      'on the way, with a reason that is none',
      [{ ...part('a', { finishReason: 'FINISH_REASON_UNSPECIFIED' }), ...usage(5) }],
      undefined,
    ],
    ['nowhere', [part('a', last)], undefined],
  ])('with its usage %s', (_name, events, expected) => {
    expect(finalOf(googleProtocol, events)).toBe(expected);
  });

  it('has the last figure on the way as its lower bound: they are not always sums', () => {
    const { record } = recordOf(googleProtocol, [usage(50), { ...part('a'), ...usage(20) }]);
    expect(record.receivedOutputTokens).toBe(20);
  });

  it('has thoughts that are no text, and calls with their signatures', () => {
    const parts = [
      { text: 'hm', thought: true },
      { text: 'a' },
      { functionCall: { name: 'f', args: { x: 1 } }, thoughtSignature: 's' },
    ];
    const { record, text } = recordOf(googleProtocol, [
      { candidates: [{ content: { parts } }], responseId: 'r-1' },
    ]);
    expect(text).toBe('a');
    expect(record.requestId).toBe('r-1');
    expect(record.toolCalls).toEqual([{ id: '', name: 'f', args: '{"x":1}', signature: 's' }]);
  });
});
