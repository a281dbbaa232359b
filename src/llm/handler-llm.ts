/**
 * The handler's side of the door: asks for JSON where there is a schema, and reads the answer by it. Loads
 * no provider and no money, and reaches neither but through `call`.
 */
import { UsageError } from '../errors.ts';
import { checkCall } from './check-call.ts';
import type { CallLlm, Llm, LlmAnswer, LlmCall, LlmRequest } from './llm.ts';
import { jsonInstructions, parseAnswer } from './structured.ts';

/** `judged` is told of every answer to a request with a schema whether it fits: `LlmDoor.judged`. */
export function llmOver(call: CallLlm, judged: (fits: boolean) => void = () => {}): Llm {
  return {
    generate: async <T>(request: LlmRequest<T>): Promise<LlmAnswer<T>> => {
      const { hint, ...answer } = await call(callOf(request));
      if (request.schema === undefined) return answer;
      let fits = false;
      try {
        const object = await parseAnswer(answer.text, request.schema, hint);
        fits = true;
        return { ...answer, object };
      } finally {
        judged(fits);
      }
    },
  };
}

/** Everything that can be wrong with a request is found here, before it costs money. */
function callOf({ system, prompt, schema, model, maxOutputTokens }: LlmRequest<unknown>): LlmCall {
  const call = {
    system,
    prompt,
    json: schema !== undefined,
    maxOutputTokens,
    ...(model === undefined ? {} : { model }),
  };
  checkCall(call);
  if (schema === undefined) return call;
  if (!canValidate(schema)) {
    throw new UsageError('schema must be a Standard Schema (of zod, valibot, arktype ...)');
  }
  return { ...call, system: `${system}\n\n${jsonInstructions(schema)}` };
}

/** Handlers in plain JavaScript have no compiler to tell them. */
function canValidate(schema: unknown): boolean {
  if (schema === null || (typeof schema !== 'object' && typeof schema !== 'function')) return false;
  const standard: unknown = Reflect.get(schema, '~standard');
  return (
    typeof standard === 'object' &&
    standard !== null &&
    typeof Reflect.get(standard, 'validate') === 'function'
  );
}
