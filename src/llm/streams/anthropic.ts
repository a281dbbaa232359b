/**
 * Events of a message. docs.claude.com, "Streaming messages": `message_start` has the input and the first output
 * tokens, `message_delta` the output so far, with `stop_reason` at the end.
 */
import { asObject } from '../provider-body.ts';
import type { JsonObject } from '../provider-body.ts';
import { textOf } from './facts.ts';
import type { FinishReason, ReadEvent, StreamFacts } from './facts.ts';

const finishes: Readonly<Record<string, FinishReason>> = {
  max_tokens: 'length',
  model_context_window_exceeded: 'length',
  refusal: 'content-filter',
};

export function anthropicEvents(): ReadEvent {
  let message: JsonObject = {};
  let usage: JsonObject = {};
  let hasFinished = false;
  /** Of the output: a figure that came after all of it. That of `message_start` is the first of many. */
  let hasTotal = false;
  const output = (facts: StreamFacts): StreamFacts => {
    hasTotal = false;
    return facts;
  };
  const usageNow = (isFinal: boolean) => ({ body: { ...message, usage }, isFinal });

  const readers: Readonly<Record<string, (event: JsonObject) => StreamFacts>> = {
    message_start: (event) => {
      message = asObject(event['message']) ?? {};
      usage = asObject(message['usage']) ?? {};
      return { usage: usageNow(false) };
    },
    content_block_start: (event) => output(blockOf(event, asObject(event['content_block']) ?? {})),
    content_block_delta: (event) => output(deltaOf(event, asObject(event['delta']) ?? {})),
    message_delta: (event) => {
      const reason = textOf(asObject(event['delta'])?.['stop_reason']);
      hasFinished ||= reason !== '';
      const reported = asObject(event['usage']) ?? {};
      hasTotal ||= typeof reported['output_tokens'] === 'number';
      usage = { ...usage, ...withoutNulls(reported) };
      return {
        ...(reason === '' ? {} : { finish: finishes[reason] ?? 'stop' }),
        usage: usageNow(hasFinished && hasTotal),
      };
    },
    message_stop: () => ({ isEnd: true, usage: usageNow(hasTotal) }),
    error: (event) => ({ error: event }),
  };
  return (event) => readers[textOf(event['type'])]?.(event) ?? {};
}

const keyOf = ({ index }: JsonObject): number => (typeof index === 'number' ? index : 0);

function blockOf(event: JsonObject, block: JsonObject): StreamFacts {
  if (block['type'] === 'text') return { text: textOf(block['text']) };
  if (block['type'] !== 'tool_use') return {};
  const input = asObject(block['input']) ?? {};
  const args = Object.keys(input).length === 0 ? '' : JSON.stringify(input);
  const piece = { key: keyOf(event), id: textOf(block['id']), name: textOf(block['name']), args };
  return { toolCalls: [piece] };
}

function deltaOf(event: JsonObject, delta: JsonObject): StreamFacts {
  switch (delta['type']) {
    case 'text_delta':
      return { text: textOf(delta['text']) };
    case 'thinking_delta':
      return { reasoning: textOf(delta['thinking']) };
    case 'input_json_delta':
      return { toolCalls: [{ key: keyOf(event), args: textOf(delta['partial_json']) }] };
    default:
      return {};
  }
}

const withoutNulls = (fields: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));
