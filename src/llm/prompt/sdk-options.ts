/** What the SDK of a provider writes a request from. */
import type { JSONValue } from 'ai';
import type { LlmCall } from '../llm.ts';
import type { SdkModel } from '../protocol.ts';
import type { Conversation } from './conversation.ts';
import type { LlmToolCallPart, LlmTextPart, Message } from './messages.ts';

export type SdkOptions = Parameters<SdkModel['doStream']>[0];
type SdkMessage = SdkOptions['prompt'][number];
type SdkTool = NonNullable<SdkOptions['tools']>[number];

export function sdkOptions(asked: LlmCall, conversation: Conversation | undefined): SdkOptions {
  const { system, prompt, maxOutputTokens } = asked;
  const { messages, tools = [], toolChoice } = conversation ?? {};
  const head: SdkMessage[] = system === '' ? [] : [{ role: 'system', content: system }];
  const plain: SdkMessage = { role: 'user', content: [{ type: 'text', text: prompt }] };
  return {
    prompt: [...head, ...(messages?.map(sdkMessage) ?? [plain])],
    maxOutputTokens,
    ...(tools.length === 0 ? {} : { tools: tools.map(sdkTool) }),
    ...(toolChoice === undefined ? {} : { toolChoice: sdkChoice(toolChoice) }),
  };
}

function sdkMessage(message: Message): SdkMessage {
  switch (message.role) {
    case 'user':
      return { role: 'user', content: message.content.map(({ text }) => ({ type: 'text', text })) };
    case 'assistant':
      return { role: 'assistant', content: message.content.map(sdkPart) };
    default:
      return {
        role: 'tool',
        content: message.content.map(({ id, name, output }) => ({
          type: 'tool-result',
          toolCallId: id,
          toolName: name,
          output:
            typeof output === 'string'
              ? { type: 'text', value: output }
              : { type: 'json', value: jsonOf(output) },
        })),
      };
  }
}

type SdkPart = Extract<SdkMessage, { readonly role: 'assistant' }>['content'][number];

function sdkPart(part: LlmTextPart | LlmToolCallPart): SdkPart {
  if (part.type === 'text') return { type: 'text', text: part.text };
  const { id, name, input, signature } = part;
  return {
    type: 'tool-call',
    toolCallId: id,
    toolName: name,
    input,
    // OpenAI's protocol carries it for Google's models too.
    ...(signature === undefined
      ? {}
      : { providerOptions: { google: { thoughtSignature: signature } } }),
  };
}

/** It was parsed from JSON. */
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const jsonOf = (value: unknown): JSONValue => value as JSONValue;

const sdkTool = ({ name, description, inputSchema }: Conversation['tools'][number]): SdkTool => ({
  type: 'function',
  name,
  inputSchema,
  ...(description === undefined ? {} : { description }),
});

function sdkChoice(
  choice: NonNullable<Conversation['toolChoice']>,
): NonNullable<SdkOptions['toolChoice']> {
  return typeof choice === 'string' ? { type: choice } : { type: 'tool', toolName: choice.tool };
}
