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

type CheckedCall = { readonly [Field in keyof LlmCall]?: unknown };

/** Throws a `UsageError` that names the field. */
export function checkCall(call: CheckedCall): void {
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
  checkModel(model);
  checkCap('maxOutputTokens', maxOutputTokens);
  checkForms(call);
  if (timeoutMs !== undefined && !isLlmTimeout(timeoutMs)) {
    throw new UsageError(
      `timeoutMs must be a whole number of milliseconds from 1 to ${maxLlmTimeoutMs}`,
    );
  }
}

export function checkModel(model: unknown, place?: string): void {
  const fault = model === undefined ? undefined : nameFault('model', model);
  if (fault !== undefined) {
    const where = place === undefined ? '' : `${place}.model: `;
    throw new UsageError(`${where}${fault}; leave model out to use the configured one`);
  }
}

export function checkCap(name: string, cap: unknown): void {
  if (!Number.isSafeInteger(cap) || Number(cap) < 1) {
    throw new UsageError(
      `${name} must be a whole number of at least 1, not ${typeof cap === 'string' ? 'a string' : String(cap)}`,
    );
  }
  if (Number(cap) > maxOutputCap) {
    throw new UsageError(
      `${name} is ${Number(cap)}; no model writes more than ${maxOutputCap} tokens`,
    );
  }
}

export const maxFallbacks = 5;

function checkForms({ fallbacks, minOutputTokens, endUser, maxOutputTokens }: CheckedCall): void {
  let lastCap = maxOutputTokens;
  if (fallbacks !== undefined) {
    if (!Array.isArray(fallbacks) || fallbacks.length > maxFallbacks) {
      throw new UsageError(`fallbacks must be a list of at most ${maxFallbacks} forms`);
    }
    for (const [index, form] of fallbacks.entries()) {
      const given: unknown = form;
      if (typeof given !== 'object' || given === null) {
        throw new UsageError(`fallbacks[${index}] must be an object { model?, maxOutputTokens? }`);
      }
      const cap: unknown = Reflect.get(given, 'maxOutputTokens') ?? maxOutputTokens;
      checkModel(Reflect.get(given, 'model'));
      checkCap(`maxOutputTokens of fallbacks[${index}]`, cap);
      lastCap = cap;
    }
  }
  if (minOutputTokens !== undefined) {
    checkCap('minOutputTokens', minOutputTokens);
    if (Number(minOutputTokens) > Number(lastCap)) {
      throw new UsageError(
        `minOutputTokens is ${Number(minOutputTokens)} and the cap of the last form ${Number(lastCap)}; it must not be more`,
      );
    }
  }
  if (endUser === undefined) return;
  if (typeof endUser !== 'string' || endUser === '' || endUser.length > 200) {
    throw new UsageError('endUser must be text of 1 to 200 characters');
  }
  if (/\p{Cc}/u.test(endUser) || !endUser.isWellFormed()) {
    throw new UsageError('endUser must be text without control characters');
  }
}
