/** Validates a call, in the handler's thread and again in the supervisor, which does not trust the thread. */
import { UsageError } from '../errors.ts';
import type { LlmCall } from './llm.ts';

/** Throws a `UsageError` that names the field. */
export function checkCall(call: { readonly [Field in keyof LlmCall]?: unknown }): void {
  const { system, prompt, model, maxOutputTokens } = call;
  for (const [name, value] of Object.entries({ system, prompt })) {
    if (typeof value !== 'string')
      throw new UsageError(`${name} must be text, not ${typeof value}`);
  }
  if (model !== undefined && (typeof model !== 'string' || model === '')) {
    throw new UsageError('model must be the name of a model, or absent to use the configured one');
  }
  if (!Number.isSafeInteger(maxOutputTokens) || Number(maxOutputTokens) < 1) {
    throw new UsageError(
      `maxOutputTokens must be a whole number of at least 1, not ${String(maxOutputTokens)}`,
    );
  }
}
