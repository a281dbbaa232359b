/**
 * The `Llm` that a handler gets: asks for JSON where there is a schema, and validates the answer. Runs in the
 * executor thread; `call` runs in the supervisor. Imports neither providers nor budgets.
 */
import { UsageError } from '../errors.ts';
import { createByteLimit } from './byte-limit.ts';
import { bytesOfCall, checkCall } from './check-call.ts';
import type { CallLlm, Llm, LlmAnswer, LlmCall, LlmRequest } from './llm.ts';
import { jsonInstructions, parseAnswer } from './structured.ts';

/** Of the calls of this thread: a call is copied to the supervisor, which cannot refuse it before. */
const inFlight = createByteLimit(32 * 1024 * 1024);

/** `onValidated` is called for every answer to a request with a schema: `LlmGateway.countAnswer`. */
export function createHandlerLlm(
  call: CallLlm,
  onValidated: (valid: boolean) => void = () => {},
): Llm {
  return {
    generate: async <T>(given: LlmRequest<T>): Promise<LlmAnswer<T>> => {
      const request = readRequest(given);
      const asked = callOf(request);
      const { hint, ...answer } = await inFlight.run(bytesOfCall(asked), undefined, () =>
        call(asked),
      );
      if (request.schema === undefined) return answer;
      let valid = false;
      try {
        const object = await parseAnswer(answer.text, request.schema, hint);
        valid = true;
        return { ...answer, object };
      } finally {
        onValidated(valid);
      }
    },
  };
}

/** The fields, each read once. For handlers in plain JavaScript. */
function readRequest<T>(given: LlmRequest<T>): LlmRequest<T> {
  try {
    const { system, prompt, schema, model, maxOutputTokens } = given;
    return {
      system,
      prompt,
      maxOutputTokens,
      ...(schema === undefined ? {} : { schema }),
      ...(model === undefined ? {} : { model }),
    };
  } catch (cause) {
    throw new UsageError(
      'ctx.llm.generate: its argument must be an object { system, prompt, maxOutputTokens, schema?, model? }',
      { cause },
    );
  }
}

/** Validates the request before it costs money. */
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
  const withShape = { ...call, system: `${system}\n\n${jsonInstructions(schema)}` };
  checkCall(withShape);
  return withShape;
}

/** For handlers in plain JavaScript. */
function canValidate(schema: unknown): boolean {
  if (schema === null || (typeof schema !== 'object' && typeof schema !== 'function')) return false;
  const standard: unknown = Reflect.get(schema, '~standard');
  return (
    typeof standard === 'object' &&
    standard !== null &&
    typeof Reflect.get(standard, 'validate') === 'function'
  );
}
