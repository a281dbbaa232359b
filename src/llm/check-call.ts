/** Validates a call, in the handler's thread and again in the supervisor, which does not trust the thread. */
import { UsageError } from '../errors.ts';
import { nameFault } from '../names.ts';
import type { LlmCall } from './llm.ts';

/** Of system and prompt together. More than any model reads, and few enough to be copied between threads. */
export const maxCallBytes = 8 * 1024 * 1024;

/** A usage report with more is an error, too (usage/reported.ts). */
const maxOutputCap = 1e9;

export const maxLlmTimeoutMs = 600_000;

/** Of a call, in milliseconds. */
export const isLlmTimeout = (ms: unknown): boolean =>
  Number.isSafeInteger(ms) && Number(ms) >= 1 && Number(ms) <= maxLlmTimeoutMs;

/** Bytes of a call's text in UTF-8. */
export function bytesOfCall({
  system,
  prompt,
  conversation = '',
}: Pick<LlmCall, 'system' | 'prompt' | 'conversation'>): number {
  return Buffer.byteLength(system) + Buffer.byteLength(prompt) + Buffer.byteLength(conversation);
}

/** Throws a `UsageError` that names the field. */
export function checkCall(call: { readonly [Field in keyof LlmCall]?: unknown }): void {
  const { system, prompt, conversation = '', model, maxOutputTokens, timeoutMs } = call;
  let bytes = 0;
  for (const [name, value] of Object.entries({ system, prompt, conversation })) {
    if (typeof value !== 'string')
      throw new UsageError(`${name} must be text, not ${typeof value}`);
    // The length is known without reading the text.
    bytes += value.length > maxCallBytes ? value.length : Buffer.byteLength(value);
  }
  if (bytes > maxCallBytes) {
    throw new UsageError(
      `system and prompt (or messages and tools) have ${bytes} bytes or more together; a call has at most ${maxCallBytes}: send less evidence`,
    );
  }
  const modelFault = model === undefined ? undefined : nameFault('model', model);
  if (modelFault !== undefined) {
    throw new UsageError(`${modelFault}; leave model out to use the configured one`);
  }
  if (!Number.isSafeInteger(maxOutputTokens) || Number(maxOutputTokens) < 1) {
    throw new UsageError(
      `maxOutputTokens must be a whole number of at least 1, not ${typeof maxOutputTokens === 'string' ? 'a string' : String(maxOutputTokens)}`,
    );
  }
  if (Number(maxOutputTokens) > maxOutputCap) {
    throw new UsageError(
      `maxOutputTokens is ${Number(maxOutputTokens)}; no model writes more than ${maxOutputCap} tokens`,
    );
  }
  if (timeoutMs !== undefined && !isLlmTimeout(timeoutMs)) {
    throw new UsageError(
      `timeoutMs must be a whole number of milliseconds from 1 to ${maxLlmTimeoutMs}`,
    );
  }
}
