/**
 * A prompt as messages: checks what a handler gives, and copies the fields that are known. The same check runs in the
 * supervisor, which does not trust the thread.
 */
import { UsageError } from '../../errors.ts';

export interface LlmTextPart {
  readonly type: 'text';
  readonly text: string;
}

export interface LlmToolCall {
  readonly id: string;
  readonly name: string;
  readonly input: unknown;
  /** What the provider wants back with the call. */
  readonly signature?: string;
}

export interface LlmToolCallPart extends LlmToolCall {
  readonly type: 'tool_call';
}

/** What a tool gave for the call with this id: text, or a value that is sent as JSON. */
export interface LlmToolResultPart {
  readonly type: 'tool_result';
  readonly id: string;
  readonly output: unknown;
}

export type LlmMessage =
  /** Only before the others; joined to `system`. */
  | { readonly role: 'system'; readonly content: string | readonly LlmTextPart[] }
  | { readonly role: 'user'; readonly content: string | readonly LlmTextPart[] }
  | {
      readonly role: 'assistant';
      readonly content: string | readonly (LlmTextPart | LlmToolCallPart)[];
    }
  | { readonly role: 'tool'; readonly content: readonly LlmToolResultPart[] };

/** A checked message: a list of parts, and results with the name of their tool. */
export type Message =
  | { readonly role: 'user'; readonly content: readonly LlmTextPart[] }
  | { readonly role: 'assistant'; readonly content: readonly (LlmTextPart | LlmToolCallPart)[] }
  | { readonly role: 'tool'; readonly content: readonly ToolResult[] };

interface ToolResult extends LlmToolResultPart {
  readonly name: string;
}

export interface CheckedMessages {
  /** Of the messages of the role `system`. */
  readonly system: readonly string[];
  readonly messages: readonly Message[];
}

type Fields = Readonly<Record<string, unknown>>;

const roles = ['system', 'user', 'assistant', 'tool'] as const;
const partsOfRoles: Readonly<Record<(typeof roles)[number], readonly string[]>> = {
  system: ['text'],
  user: ['text'],
  assistant: ['text', 'tool_call'],
  tool: ['tool_result'],
};
/** Deeper values are no data, and JSON of them could exhaust the stack. */
const maxDepth = 100;

export const fieldsOf = (value: unknown): Fields | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value))
    : undefined;

/** Throws a `UsageError` that names the message and the part. */
export function checkMessages(given: unknown): CheckedMessages {
  if (!Array.isArray(given) || given.length === 0) {
    throw new UsageError('messages must be a list of one message or more');
  }
  const system: string[] = [];
  const messages: Message[] = [];
  /** Names of the tools that were called so far, by the id of the call. */
  const called = new Map<string, string>();
  for (const [index, one] of given.entries()) {
    const at = `messages[${index}]`;
    const { role, parts } = readMessage(one, at);
    if (role === 'system') {
      if (messages.length > 0) {
        throw new UsageError(`${at}: a system message must come before all others`);
      }
      system.push(parts.map((part, at2) => textPart(part, `${at}.content[${at2}]`).text).join(''));
      continue;
    }
    messages.push(messageOf(role, parts, at, called));
  }
  if (messages.length === 0) throw new UsageError('messages has no message of a user');
  return { system, messages };
}

function readMessage(given: unknown, at: string) {
  const message = fieldsOf(given);
  const role = roles.find((one) => one === message?.['role']);
  if (message === undefined || role === undefined) {
    throw new UsageError(`${at}: its role must be one of ${roles.join(', ')}`);
  }
  const { content } = message;
  const list = typeof content === 'string' ? [{ type: 'text', text: content }] : content;
  if (!Array.isArray(list) || (typeof content === 'string' && role === 'tool')) {
    throw new UsageError(
      `${at}: its content must be ${role === 'tool' ? '' : 'text or '}a list of parts of the type ${partsOfRoles[role].join(' or ')}`,
    );
  }
  const parts = list.map((part: unknown, index) => readPart(part, role, `${at}.content[${index}]`));
  // Providers refuse them; an answer with tool calls alone has an empty text.
  const filled = parts.filter(({ type, text }) => type !== 'text' || text !== '');
  if (filled.length === 0) throw new UsageError(`${at}: it is empty; leave it out`);
  return { role, parts: filled };
}

function readPart(given: unknown, role: (typeof roles)[number], at: string): Fields {
  const part = fieldsOf(given);
  const type = part?.['type'];
  if (part === undefined || typeof type !== 'string') {
    throw new UsageError(`${at}: a part must be an object with a type`);
  }
  const known = partsOfRoles[role];
  if (known.includes(type)) return part;
  if (['text', 'tool_call', 'tool_result'].includes(type)) {
    throw new UsageError(`${at}: a message of the role ${role} has no part of the type ${type}`);
  }
  throw new UsageError(
    `${at}: parts of the type ${JSON.stringify(type.slice(0, 50))} are not supported: no bound of their price is ` +
      'known, so no money can be held for them; send text (the text of a file, a description of an image)',
  );
}

function messageOf(
  role: 'user' | 'assistant' | 'tool',
  parts: readonly Fields[],
  at: string,
  called: Map<string, string>,
): Message {
  const place = (index: number) => `${at}.content[${index}]`;
  switch (role) {
    case 'user':
      return { role, content: parts.map((part, index) => textPart(part, place(index))) };
    case 'assistant':
      return {
        role,
        content: parts.map((part, index) =>
          part['type'] === 'text'
            ? textPart(part, place(index))
            : callPart(part, place(index), called),
        ),
      };
    default:
      return { role, content: parts.map((part, index) => resultPart(part, place(index), called)) };
  }
}

function textPart({ text }: Fields, at: string): LlmTextPart {
  if (typeof text !== 'string') throw new UsageError(`${at}: its text must be text`);
  return { type: 'text', text };
}

function callPart(
  { id, name, input, signature }: Fields,
  at: string,
  called: Map<string, string>,
): LlmToolCallPart {
  const call = { id: wordOf(id, `${at}: its id`), name: wordOf(name, `${at}: its name`) };
  called.set(call.id, call.name);
  checkData(input ?? {}, `${at}: its input`);
  const signed = typeof signature === 'string' ? { signature } : {};
  return { type: 'tool_call', ...call, input: input ?? {}, ...signed };
}

function resultPart(
  { id, output }: Fields,
  at: string,
  called: ReadonlyMap<string, string>,
): ToolResult {
  const callId = wordOf(id, `${at}: its id`);
  const name = called.get(callId);
  if (name === undefined) {
    throw new UsageError(
      `${at}: no tool call before it has the id ${JSON.stringify(callId.slice(0, 50))}; put the message of the ` +
        'assistant with that call before it',
    );
  }
  if (output === undefined) throw new UsageError(`${at}: it has no output; send an empty text`);
  checkData(output, `${at}: its output`);
  return { type: 'tool_result', id: callId, name, output };
}

function wordOf(value: unknown, what: string): string {
  if (typeof value === 'string' && value !== '' && value.length <= 200) return value;
  throw new UsageError(`${what} must be text of 1 to 200 characters`);
}

/** Throws where a value is nested too deep to be sent as JSON. */
export function checkData(value: unknown, what: string): void {
  if (isDeeper(value, maxDepth)) {
    throw new UsageError(`${what} is nested deeper than ${maxDepth} levels; send a flatter value`);
  }
}

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (levels === 0) return true;
  const inner: unknown[] = Object.values(value);
  return inner.some((one) => isDeeper(one, levels - 1));
}
