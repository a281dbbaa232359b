/**
 * Messages and tools of one call as JSON text, which travels between the threads whatever a handler puts into them, and
 * whose length is known.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { UsageError } from '../../errors.ts';
import { jsonWithin } from '../../bounded-text.ts';
import { checkData, checkMessages, fieldsOf } from './messages.ts';
import type { LlmMessage, Message } from './messages.ts';

export interface LlmTool {
  /** For the model: what it does, and when to call it. */
  readonly description?: string;
  /** A Standard Schema that gives JSON Schema (zod, arktype ...), which checks the input; or JSON Schema, which does not. */
  readonly input: StandardSchemaV1 | Readonly<Record<string, unknown>>;
}

/** A tool call as it comes from the gateway. */
export interface ReplyToolCall {
  readonly id: string;
  readonly name: string;
  /** JSON text, as the model wrote it. */
  readonly args: string;
  readonly signature?: string;
}

/** A tool as it is sent. */
export interface ToolFacts {
  readonly name: string;
  readonly description?: string | undefined;
  /** JSON Schema, draft 7. */
  readonly inputSchema: Readonly<Record<string, unknown>>;
}

/** Whether the model may, must not or must call a tool, or must call this one. Default `auto`. */
export type LlmToolChoice = 'auto' | 'none' | 'required' | { readonly tool: string };

export interface Conversation {
  readonly messages: readonly Message[];
  readonly tools: readonly ToolFacts[];
  readonly toolChoice?: LlmToolChoice | undefined;
}

const maxTools = 128;
/** What every provider accepts. */
const toolName = /^[A-Za-z_][A-Za-z0-9_-]{0,63}$/;

/** Throws a `UsageError` that names the fault; also where the JSON has more than `maxCharacters`. */
export function writeConversation(
  given: {
    readonly messages: readonly LlmMessage[];
    readonly tools: readonly ToolFacts[];
    readonly toolChoice?: LlmToolChoice | undefined;
  },
  maxCharacters: number,
): { readonly system: readonly string[]; readonly text: string } {
  const plain = plainOf(given, maxCharacters);
  const { system, messages } = checkMessages(plain?.['messages']);
  const checked = checkTools(plain?.['tools'], plain?.['toolChoice']);
  return { system, text: JSON.stringify({ messages, ...checked }) };
}

/** As JSON has it, so that no code of the handler runs while it is checked. */
function plainOf(given: object, maxCharacters: number) {
  try {
    return fieldsOf(JSON.parse(jsonWithin(given, maxCharacters) ?? 'null'));
  } catch (cause) {
    throw new UsageError(
      `messages and tools cannot be sent as JSON of at most ${maxCharacters} characters; send plain data, and less of it`,
      { cause },
    );
  }
}

/** Throws like `writeConversation`. */
export function readConversation(text: string): Conversation {
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch {
    throw new UsageError('a conversation must be JSON');
  }
  const { messages, tools, toolChoice } = fieldsOf(given) ?? {};
  const checked = checkMessages(messages);
  if (checked.system.length > 0) throw new UsageError('a conversation has no system messages');
  return { messages: checked.messages, ...checkTools(tools, toolChoice) };
}

function checkTools(given: unknown, choice: unknown): Pick<Conversation, 'tools' | 'toolChoice'> {
  if (!Array.isArray(given) || given.length > maxTools) {
    throw new UsageError(`a call has at most ${maxTools} tools`);
  }
  const tools = given.map((tool: unknown) => checkTool(fieldsOf(tool) ?? {}));
  const names = tools.map(({ name }) => name);
  const toolChoice = readChoice(choice);
  if (typeof toolChoice === 'object' && !names.includes(toolChoice.tool)) {
    throw new UsageError('toolChoice.tool must be the name of one of the tools');
  }
  if (toolChoice !== undefined && tools.length === 0) {
    throw new UsageError('toolChoice needs tools');
  }
  return { tools, toolChoice };
}

function checkTool({
  name,
  description,
  inputSchema,
}: Readonly<Record<string, unknown>>): ToolFacts {
  if (typeof name !== 'string' || !toolName.test(name)) {
    throw new UsageError(
      `the name of a tool has 1 to 64 letters, digits, _ and -, and begins with a letter or _, unlike ` +
        JSON.stringify(String(name).slice(0, 70)),
    );
  }
  if (description !== undefined && typeof description !== 'string') {
    throw new UsageError(`tool ${name}: its description must be text`);
  }
  const schema = fieldsOf(inputSchema);
  if (schema === undefined) throw new UsageError(`tool ${name}: its input must be a schema`);
  checkData(schema, `tool ${name}: its input schema`);
  return { name, description, inputSchema: schema };
}

function readChoice(choice: unknown): LlmToolChoice | undefined {
  if (choice === undefined || choice === null) return undefined;
  if (choice === 'auto' || choice === 'none' || choice === 'required') return choice;
  const tool = fieldsOf(choice)?.['tool'];
  if (typeof tool === 'string') return { tool };
  throw new UsageError("toolChoice must be 'auto', 'none', 'required' or { tool: NAME }");
}
