/** Reads a handler's request into the call that goes to the gateway, and checks it before it costs money. */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { UsageError } from '../../errors.ts';
import { checkCall, maxCallBytes, maxFallbacks } from '../check-call.ts';
import { withDefaults } from '../ladder/defaults.ts';
import type { LlmDefaults } from '../ladder/defaults.ts';
import type { LlmCall, LlmFallback, LlmRequest } from '../llm.ts';
import { canValidate, jsonInstructions } from '../structured.ts';
import { writeConversation } from './conversation.ts';
import type { LlmTool } from './conversation.ts';
import { toolFacts } from './tools.ts';

export interface ReadRequest<T> {
  readonly call: LlmCall;
  readonly schema: StandardSchemaV1<unknown, T> | undefined;
  readonly tools: Readonly<Record<string, LlmTool>>;
}

/** Throws a `UsageError` that names the field. */
export function readRequest<T>(
  method: string,
  given: LlmRequest<T>,
  defaults?: LlmDefaults,
): ReadRequest<T> {
  const { schema, tools = {}, ...asked } = withDefaults(fieldsOf(method, given), defaults);
  const call = callOf({ ...asked, tools, json: schema !== undefined });
  checkCall(call);
  if (schema === undefined) return { call, schema, tools };
  if (!canValidate(schema)) {
    throw new UsageError('schema must be a Standard Schema (of zod, valibot, arktype ...)');
  }
  const system = joined([call.system, jsonInstructions(schema)]);
  const withShape = { ...call, system };
  checkCall(withShape);
  return { call: withShape, schema, tools };
}

/** Each field is read once. For handlers in plain JavaScript. */
function fieldsOf<T>(method: string, given: LlmRequest<T>) {
  try {
    const { system, prompt, messages, schema, model, maxOutputTokens, timeoutMs } = given;
    const { tools, toolChoice, fallbacks, minOutputTokens, endUser } = given;
    return {
      system,
      prompt,
      messages,
      maxOutputTokens,
      tools,
      toolChoice,
      schema,
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
      `ctx.llm.${method}: its argument must be an object { system, prompt, maxOutputTokens, schema?, model?, ` +
        'timeoutMs?, messages?, tools?, toolChoice?, fallbacks?, minOutputTokens?, endUser? }',
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

type Asked = Omit<ReturnType<typeof fieldsOf>, 'schema' | 'tools'> & {
  readonly tools: Readonly<Record<string, LlmTool>>;
  readonly json: boolean;
};

function callOf({ system, prompt, messages, tools, toolChoice, ...asked }: Asked): LlmCall {
  const isPlain = messages === undefined && !hasTools(tools) && toolChoice === undefined;
  // What is missing or no text is refused with the call.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  if (isPlain) return { system, prompt, ...asked } as LlmCall;
  if (messages !== undefined && prompt !== undefined) {
    throw new UsageError('give a prompt or messages, not both');
  }
  if (system !== undefined && typeof system !== 'string') {
    throw new UsageError(`system must be text, not ${typeof system}`);
  }
  if (messages === undefined && typeof prompt !== 'string') {
    throw new UsageError(`prompt must be text, not ${typeof prompt}`);
  }
  const conversation = writeConversation(
    {
      messages: messages ?? [{ role: 'user', content: prompt ?? '' }],
      tools: toolFacts(tools),
      toolChoice,
    },
    maxCallBytes,
  );
  return {
    ...asked,
    system: joined([system ?? '', ...conversation.system]),
    prompt: '',
    conversation: conversation.text,
  };
}

function hasTools(tools: unknown): boolean {
  if (typeof tools !== 'object' || tools === null || Array.isArray(tools)) {
    throw new UsageError('tools must be an object { NAME: { description, input } }');
  }
  return Object.keys(tools).length > 0;
}

const joined = (texts: readonly string[]): string =>
  texts.filter((text) => text !== '').join('\n\n');
