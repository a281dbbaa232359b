/**
 * The `Llm` that a handler gets: asks for JSON where there is a schema, and validates the answer. Runs in the
 * executor thread; `call` runs in the supervisor. Imports neither providers nor budgets.
 */
import { createByteLimit } from './byte-limit.ts';
import { bytesOfCall } from './check-call.ts';
import type { LlmDefaults } from './ladder/defaults.ts';
import type { CallLlm, Llm, LlmAnswer, LlmCall, LlmReply, LlmRequest, LlmStream } from './llm.ts';
import { readRequest } from './prompt/request.ts';
import type { ReadRequest } from './prompt/request.ts';
import { parseToolCalls } from './prompt/tools.ts';
import { HandlerStream } from './streams/handler-stream.ts';
import type { StreamLink } from './streams/handler-stream.ts';
import { parseAnswer } from './structured.ts';

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

/**
 * `onValidated` is called for every answer to a request with a schema: `LlmGateway.countAnswer`. `defaults` are those of
 * the handler.
 */
export function createHandlerLlm(
  call: CallLlm,
  onValidated: (valid: boolean) => void = () => {},
  streams: LlmStreams = notConnected,
  defaults?: LlmDefaults,
): Llm {
  const finish = async <T>(request: ReadRequest<T>, reply: LlmReply): Promise<LlmAnswer<T>> => {
    const { schema, tools } = request;
    let valid = false;
    try {
      const answer = await answerOf(reply, schema, tools);
      valid = true;
      return answer;
    } finally {
      if (schema !== undefined) onValidated(valid);
    }
  };
  return {
    generate: async <T>(given: LlmRequest<T>): Promise<LlmAnswer<T>> => {
      const request = readRequest('generate', given, defaults);
      const { call: asked } = request;
      const bytes = bytesOfCall(asked);
      return finish(request, await inFlight.run(bytes, undefined, () => call(asked)));
    },
    stream: <T>(given: LlmRequest<T>): LlmStream<T> => {
      const request = readRequest('stream', given, defaults);
      const { call: asked } = request;
      const bytes = bytesOfCall(asked);
      return new HandlerStream<T>({
        begin: (open, signal) => streams.track(() => inFlight.run(bytes, signal, open)),
        open: (onText) => streams.open(asked, onText),
        finish: (reply) => finish(request, reply),
      });
    },
  };
}

/** Throws `LlmOutputError` where the answer does not match its schema, or a tool call does not match the tool's. */
async function answerOf<T>(
  { hint, toolCalls: called = [], ...answer }: LlmReply,
  schema: ReadRequest<T>['schema'],
  tools: ReadRequest<T>['tools'],
): Promise<LlmAnswer<T>> {
  if (called.length > 0) {
    return { ...answer, toolCalls: await parseToolCalls(called, tools, answer.text, hint) };
  }
  if (schema === undefined) return answer;
  return { ...answer, object: await parseAnswer(answer.text, schema, hint) };
}
