/**
 * Events of a chat completion. platform.openai.com/docs/api-reference/chat-streaming: with `include_usage` a last chunk
 * without choices has the usage of the whole request. Compatible servers report it with the last choice, or with every
 * chunk.
 */
import { asObject, asObjects } from '../provider-body.ts';
import type { JsonObject } from '../provider-body.ts';
import { textOf } from './facts.ts';
import type { FinishReason, ReadEvent, ToolCallPiece } from './facts.ts';

const finishes: Readonly<Record<string, FinishReason>> = {
  length: 'length',
  content_filter: 'content-filter',
};

export function openAiEvents(): ReadEvent {
  let hasFinished = false;
  let last: JsonObject = {};
  return (event) => {
    const error = asObject(event['error']);
    if (error !== undefined) return { error: event };
    const choices = asObjects(event['choices']);
    const [choice] = choices;
    const delta = asObject(choice?.['delta']) ?? {};
    const reason = textOf(choice?.['finish_reason']);
    hasFinished ||= reason !== '';
    last = { ...last, ...namesOf(event) };
    const usage = asObject(event['usage']);
    return {
      text: contentOf(delta['content']) + textOf(delta['refusal']),
      reasoning: textOf(delta['reasoning_content'] ?? delta['reasoning']),
      toolCalls: asObjects(delta['tool_calls']).map(pieceOf),
      ...(reason === '' ? {} : { finish: finishes[reason] ?? 'stop' }),
      ...(usage === undefined
        ? {}
        : {
            usage: { body: { ...last, usage }, isFinal: hasFinished || choices.length === 0 },
          }),
    };
  };
}

/** Not every chunk names the model and the tier. */
function namesOf({ model, service_tier }: JsonObject): JsonObject {
  return {
    ...(textOf(model) === '' ? {} : { model }),
    ...(textOf(service_tier) === '' ? {} : { service_tier }),
  };
}

/** Text, or a list of parts. */
function contentOf(content: unknown): string {
  if (typeof content === 'string') return content;
  return asObjects(content)
    .filter(({ type }) => type === 'text')
    .map(({ text }) => textOf(text))
    .join('');
}

function pieceOf(call: JsonObject, position: number): ToolCallPiece {
  const { index, id } = call;
  const named = asObject(call['function']);
  const google = asObject(asObject(call['extra_content'])?.['google']);
  return {
    key: typeof index === 'number' ? index : position,
    id: textOf(id),
    name: textOf(named?.['name']),
    args: textOf(named?.['arguments']),
    signature: textOf(google?.['thought_signature']),
  };
}
