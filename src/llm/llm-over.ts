/**
 * The handler's side of the door: asks for JSON where there is a schema, and reads the answer by it. Loads
 * no provider and no money, and reaches neither but through `call`.
 */
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

function callOf({ system, prompt, schema, model, maxOutputTokens }: LlmRequest<unknown>): LlmCall {
  const call = {
    system,
    prompt,
    json: schema !== undefined,
    maxOutputTokens,
    ...(model === undefined ? {} : { model }),
  };
  checkCall(call);
  return schema === undefined
    ? call
    : { ...call, system: `${system}\n\n${jsonInstructions(schema)}` };
}
