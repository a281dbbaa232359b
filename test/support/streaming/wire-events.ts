/** Streams in the three wire shapes, as the providers document them, with the faults that a stream can have. */
import type { WireProtocol, WireUsage } from '../provider-protocols.ts';

export interface StreamedToolCall {
  readonly id: string;
  readonly name: string;
  /** JSON text, which is sent in two halves. */
  readonly args: string;
}

export interface StreamedAnswer {
  readonly content: string;
  /** Number of events with text. */
  readonly pieces: number;
  readonly toolCalls: readonly StreamedToolCall[];
  readonly finish: 'stop' | 'length' | 'refused';
  readonly model: string | undefined;
  readonly requestId: string;
  readonly billed: WireUsage;
}

/** The events of one stream, as text of the body. */
export interface WireEvents {
  readonly start: readonly string[];
  readonly output: readonly string[];
  /** The end of the output; Google's last event is its usage. */
  readonly finish: readonly string[];
  readonly usage: string;
  readonly withoutUsage: string;
  /** A figure on the way. */
  readonly partialUsage: string;
  readonly end: readonly string[];
  readonly error: string;
}

const dataOf = (event: object): string => `data: ${JSON.stringify(event)}\n\n`;

/** As many parts of about the same length as there is text for. */
function piecesOf(text: string, count: number): string[] {
  const length = Math.max(1, Math.ceil(text.length / count));
  return text === '' ? [] : (text.match(new RegExp(`[\\s\\S]{1,${length}}`, 'g')) ?? []);
}

const halves = (text: string): [string, string] => {
  const half = Math.ceil(text.length / 2);
  return [text.slice(0, half), text.slice(half)];
};

function openAi({ content, pieces, toolCalls, finish, model, billed }: StreamedAnswer): WireEvents {
  const chunk = (more: object) =>
    dataOf({
      id: 'chatcmpl-test',
      object: 'chat.completion.chunk',
      created: 1_700_000_000,
      model,
      system_fingerprint: 'fp_test',
      usage: null,
      ...more,
    });
  const choice = (delta: object, reason: string | null = null) =>
    chunk({ choices: [{ index: 0, delta, logprobs: null, finish_reason: reason }] });
  const calls = toolCalls.flatMap(({ id, name, args }, index) => {
    const [first, second] = halves(args);
    const begun = { index, id, type: 'function', function: { name, arguments: first } };
    const ended = { index, function: { arguments: second } };
    return [choice({ tool_calls: [begun] }), choice({ tool_calls: [ended] })];
  });
  const reason = finish === 'refused' ? 'content_filter' : finish;
  return {
    start: [choice({ role: 'assistant', content: '', refusal: null })],
    output: [...piecesOf(content, pieces).map((text) => choice({ content: text })), ...calls],
    finish: [choice({}, toolCalls.length > 0 ? 'tool_calls' : reason)],
    usage: chunk({ choices: [], usage: billed }),
    withoutUsage: '',
    partialUsage: chunk({
      choices: [{ index: 0, delta: {}, finish_reason: null }],
      usage: { ...billed, completion_tokens: 1, total_tokens: billed.prompt_tokens + 1 },
    }),
    end: ['data: [DONE]\n\n'],
    error: dataOf({ error: { message: 'The server had an error.', type: 'server_error' } }),
  };
}

function anthropic(answer: StreamedAnswer): WireEvents {
  const { content, pieces, toolCalls, finish, model, billed } = answer;
  const event = (type: string, more: object = {}) => `event: ${type}\n${dataOf({ type, ...more })}`;
  const block = (index: number, begin: object, deltas: readonly object[]) => [
    event('content_block_start', { index, content_block: begin }),
    ...deltas.map((delta) => event('content_block_delta', { index, delta })),
    event('content_block_stop', { index }),
  ];
  const texts = piecesOf(content, pieces).map((text) => ({ type: 'text_delta', text }));
  const textBlock = texts.length === 0 ? [] : block(0, { type: 'text', text: '' }, texts);
  const calls = toolCalls.flatMap(({ id, name, args }, at) =>
    block(
      at + 1,
      { type: 'tool_use', id, name, input: {} },
      halves(args).map((part) => ({ type: 'input_json_delta', partial_json: part })),
    ),
  );
  const output = [...textBlock, ...calls];
  const reason = { stop: 'end_turn', length: 'max_tokens', refused: 'refusal' }[finish];
  const end = {
    stop_reason: toolCalls.length > 0 ? 'tool_use' : reason,
    stop_sequence: null,
  };
  const usage = {
    input_tokens: billed.prompt_tokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
    output_tokens: 1,
    service_tier: 'standard',
  };
  const message = { id: 'msg_test', type: 'message', role: 'assistant', model, content: [] };
  return {
    start: [
      event('message_start', {
        message: { ...message, stop_reason: null, stop_sequence: null, usage },
      }),
      event('ping'),
    ],
    output,
    finish: [],
    usage: event('message_delta', {
      delta: end,
      usage: { output_tokens: billed.completion_tokens },
    }),
    withoutUsage: event('message_delta', { delta: end }),
    partialUsage: event('message_delta', { delta: {}, usage: { output_tokens: 1 } }),
    end: [event('message_stop')],
    error: event('error', { error: { type: 'overloaded_error', message: 'Overloaded' } }),
  };
}

function google(answer: StreamedAnswer): WireEvents {
  const { content, pieces, toolCalls, finish, model, requestId, billed } = answer;
  const { prompt_tokens: prompt, completion_tokens: completion } = billed;
  const usageOf = (candidates: number) => ({
    promptTokenCount: prompt,
    ...(candidates === 0 ? {} : { candidatesTokenCount: candidates }),
    totalTokenCount: prompt + candidates,
  });
  const event = (parts: readonly object[], more: object = {}, usage?: object) =>
    dataOf({
      candidates: [{ content: { role: 'model', parts }, index: 0, ...more }],
      ...(usage === undefined ? {} : { usageMetadata: usage }),
      modelVersion: model,
      responseId: requestId,
    });
  const texts = piecesOf(content, pieces).map((text) => event([{ text }], {}, usageOf(0)));
  const calls = toolCalls.map(({ name, args }) =>
    event([{ functionCall: { name, args: JSON.parse(args) as object }, thoughtSignature: 'c2ln' }]),
  );
  const reason = { stop: 'STOP', length: 'MAX_TOKENS', refused: 'SAFETY' }[finish];
  return {
    start: [],
    output: [...texts, ...calls],
    finish: [],
    usage: event([{ text: '' }], { finishReason: reason }, usageOf(completion)),
    withoutUsage: event([{ text: '' }], { finishReason: reason }),
    partialUsage: event([{ text: '' }], {}, usageOf(Math.min(1, completion))),
    end: [],
    error: dataOf({ error: { code: 503, message: 'Overloaded', status: 'UNAVAILABLE' } }),
  };
}

export const wireEvents: Readonly<Record<WireProtocol, (answer: StreamedAnswer) => WireEvents>> = {
  openai: openAi,
  anthropic,
  google,
};
