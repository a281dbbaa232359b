/**
 * The `Llm` that a handler gets: asks for JSON where there is a schema, and validates the answer. Runs in the
 * executor thread; `call` runs in the supervisor. Imports neither providers nor budgets.
 */
import { UsageError } from '../errors.ts';
import { createByteLimit } from './byte-limit.ts';
import { bytesOfCall, checkCall, maxFallbacks } from './check-call.ts';
import type { CallLlm, Llm, LlmAnswer, LlmCall, LlmFallback } from './llm.ts';
import type { LlmReply, LlmRequest, LlmStream } from './llm.ts';
import { HandlerStream } from './streams/handler-stream.ts';
import type { StreamLink } from './streams/handler-stream.ts';
import { jsonInstructions, parseAnswer } from './structured.ts';

/** Of the calls of this thread: a call is copied to the supervisor, which cannot refuse it before. */
const inFlight = createByteLimit(32 * 1024 * 1024);

export interface LlmStreams {
  /** Opens one stream of the gateway. */
  readonly open: (call: LlmCall, onText: (text: string) => void) => StreamLink;
  /** Called with each stream that begins. */
  readonly track: <T>(run: () => Promise<T>) => Promise<T>;
}

const notConnected: LlmStreams = {
  open: () => {
    throw new Error('streams are not connected');
  },
  track: (run) => run(),
};

/** `onValidated` is called for every answer to a request with a schema: `LlmGateway.countAnswer`. */
export function createHandlerLlm(
  call: CallLlm,
  onValidated: (valid: boolean) => void = () => {},
  streams: LlmStreams = notConnected,
): Llm {
  const finish = async <T>(request: LlmRequest<T>, reply: LlmReply): Promise<LlmAnswer<T>> => {
    const { hint, ...answer } = reply;
    if (request.schema === undefined) return answer;
    let valid = false;
    try {
      const object = await parseAnswer(answer.text, request.schema, hint);
      valid = true;
      return { ...answer, object };
    } finally {
      onValidated(valid);
    }
  };
  return {
    generate: async <T>(given: LlmRequest<T>): Promise<LlmAnswer<T>> => {
      const request = readRequest('generate', given);
      const asked = callOf(request);
      const bytes = bytesOfCall(asked);
      return finish(request, await inFlight.run(bytes, undefined, () => call(asked)));
    },
    stream: <T>(given: LlmRequest<T>): LlmStream<T> => {
      const request = readRequest('stream', given);
      const asked = callOf(request);
      const bytes = bytesOfCall(asked);
      return new HandlerStream<T>({
        begin: (open, signal) => streams.track(() => inFlight.run(bytes, signal, open)),
        open: (onText) => streams.open(asked, onText),
        finish: (reply) => finish(request, reply),
      });
    },
  };
}

/** The fields, each read once. For handlers in plain JavaScript. */
function readRequest<T>(method: string, given: LlmRequest<T>): LlmRequest<T> {
  try {
    const { system, prompt, schema, model, maxOutputTokens, timeoutMs } = given;
    const { fallbacks, minOutputTokens, endUser } = given;
    return {
      system,
      prompt,
      maxOutputTokens,
      ...(schema === undefined ? {} : { schema }),
      ...(model === undefined ? {} : { model }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...(fallbacks === undefined
        ? {}
        : { fallbacks: Array.isArray(fallbacks) ? copyOf(fallbacks) : fallbacks }),
      ...(minOutputTokens === undefined ? {} : { minOutputTokens }),
      ...(endUser === undefined ? {} : { endUser }),
    };
  } catch (cause) {
    throw new UsageError(
      `ctx.llm.${method}: its argument must be an object { system, prompt, maxOutputTokens, schema?, model?, timeoutMs?, fallbacks?, minOutputTokens?, endUser? }`,
      { cause },
    );
  }
}

/** Plain data, for the supervisor. */
const copyOf = (fallbacks: readonly LlmFallback[]): readonly LlmFallback[] =>
  fallbacks.slice(0, maxFallbacks + 1).map(({ model, maxOutputTokens }) => ({
    ...(model === undefined ? {} : { model }),
    ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
  }));

/** Validates the request before it costs money. */
function callOf({ schema, ...asked }: LlmRequest<unknown>): LlmCall {
  const call = { ...asked, json: schema !== undefined };
  checkCall(call);
  if (schema === undefined) return call;
  if (!canValidate(schema)) {
    throw new UsageError('schema must be a Standard Schema (of zod, valibot, arktype ...)');
  }
  const withShape = { ...call, system: `${call.system}\n\n${jsonInstructions(schema)}` };
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
