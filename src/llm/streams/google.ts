/**
 * Events of streamGenerateContent, each a GenerateContentResponse. Its usage is that of the stream so far; the last
 * candidate has a reason for its end.
 */
import { asObject, asObjects } from '../provider-body.ts';
import type { JsonObject } from '../provider-body.ts';
import { textOf } from './facts.ts';
import type { FinishReason, ReadEvent, ToolCallPiece } from './facts.ts';

const finishes: Readonly<Record<string, FinishReason>> = {
  MAX_TOKENS: 'length',
  SAFETY: 'content-filter',
  RECITATION: 'content-filter',
  BLOCKLIST: 'content-filter',
  PROHIBITED_CONTENT: 'content-filter',
  SPII: 'content-filter',
  LANGUAGE: 'content-filter',
};
const unspecified = new Set(['', 'FINISH_REASON_UNSPECIFIED', 'BLOCK_REASON_UNSPECIFIED']);

export function googleEvents(): ReadEvent {
  let hasFinished = false;
  let callCount = 0;
  let modelVersion: unknown;
  return (event) => {
    if (asObject(event['error']) !== undefined) return { error: event };
    const [candidate] = asObjects(event['candidates']);
    const parts = asObjects(asObject(candidate?.['content'])?.['parts']);
    const blocked = textOf(asObject(event['promptFeedback'])?.['blockReason']);
    const reason = textOf(candidate?.['finishReason']);
    const isBlocked = !unspecified.has(blocked);
    const isLast = isBlocked || !unspecified.has(reason);
    hasFinished ||= isLast;
    modelVersion = event['modelVersion'] ?? modelVersion;
    const finish = isBlocked ? 'content-filter' : (finishes[reason] ?? 'stop');
    const calls = parts.filter((part) => asObject(part['functionCall']) !== undefined);
    return {
      text: joined(parts.filter(({ thought }) => thought !== true)),
      reasoning: joined(parts.filter(({ thought }) => thought === true)),
      toolCalls: calls.map((part) => pieceOf(part, (callCount += 1))),
      ...(isLast ? { finish } : {}),
      ...(asObject(event['usageMetadata']) === undefined
        ? {}
        : { usage: { body: { ...event, modelVersion }, isFinal: hasFinished } }),
    };
  };
}

const joined = (parts: readonly JsonObject[]): string =>
  parts.map(({ text }) => textOf(text)).join('');

/** Each call comes as a whole. */
function pieceOf(part: JsonObject, key: number): ToolCallPiece {
  const { name, args, id } = asObject(part['functionCall']) ?? {};
  return {
    key,
    id: textOf(id),
    name: textOf(name),
    args: JSON.stringify(asObject(args) ?? {}),
    signature: textOf(part['thoughtSignature']),
  };
}
