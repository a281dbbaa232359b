/** Has the SDK write a request, send it through its fetch, and read the whole answer. */
import type { LlmCall } from '../llm.ts';
import type { SdkModel } from '../protocol.ts';
import type { Conversation, ReplyToolCall } from './conversation.ts';
import { sdkOptions } from './sdk-options.ts';

export interface SdkAnswer {
  readonly text: string;
  readonly finishReason: string;
  readonly toolCalls: readonly ReplyToolCall[];
}

/** Throws what the SDK throws. */
export async function askSdk(
  sdk: SdkModel,
  asked: LlmCall,
  conversation: Conversation | undefined,
): Promise<SdkAnswer> {
  if (conversation === undefined) {
    const { generateText } = await import('ai');
    const { system, prompt, maxOutputTokens } = asked;
    const result = await generateText({
      model: sdk,
      system,
      prompt,
      maxOutputTokens,
      maxRetries: 0,
    });
    return { text: result.text, finishReason: result.finishReason, toolCalls: [] };
  }
  // generateText would validate every value of the messages, in the thread that renews the leases.
  const { content, finishReason } = await sdk.doGenerate(sdkOptions(asked, conversation));
  const texts = content.map((part) => (part.type === 'text' ? part.text : ''));
  const toolCalls = content
    .filter((part) => part.type === 'tool-call')
    .map(({ toolCallId, toolName, input, providerMetadata }) => ({
      id: toolCallId,
      name: toolName,
      args: input,
      ...signatureOf(providerMetadata),
    }));
  return { text: texts.join(''), finishReason: finishReason.unified, toolCalls };
}

function signatureOf(metadata: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {}) {
  const found = Object.values(metadata).find(
    ({ thoughtSignature }) => typeof thoughtSignature === 'string',
  );
  return found === undefined ? {} : { signature: String(found['thoughtSignature']) };
}
