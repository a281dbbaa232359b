/**
 * An upper bound of the input tokens of a chat completion at the provider whose tokenizer is known: the exact tokens of
 * the messages' text, and the bytes of everything else that may reach the model.
 */
import { asObject } from '../provider-body.ts';
import type { JsonObject } from '../provider-body.ts';
import { countTokens } from './count.ts';
import type { EncodingName } from './rank-table.ts';

/*
 * OpenAI's cookbook ("How to count tokens with tiktoken") has 3 tokens around each message and 3 for the start of the
 * answer, and calls that an estimate: 4 and 5 around a message were seen (openai-cookbook, issue 488), and one less than
 * its formula in all for gpt-5 (pydantic-ai, pull request 3447). These are three times the most that was seen, and room
 * for a line of instructions that a model may get.
 */
const tokensPerMessage = 16;
const tokensPerRequest = 64;

/** One token each in both encodings, which the tokens around a message include. */
const roles: ReadonlySet<unknown> = new Set(['system', 'developer', 'user', 'assistant']);

/** Settings of sampling, output and account, which are no text for the model. Any other field counts its bytes. */
const settings = new Set([
  'model',
  'max_tokens',
  'max_completion_tokens',
  'service_tier',
  'temperature',
  'top_p',
  'n',
  'seed',
  'stop',
  'stream',
  'stream_options',
  'store',
  'metadata',
  'user',
]);

/** In tokens. undefined where `body` is no chat completion, or `encodings`, of which one applies, are none. */
export async function messageBound(
  body: JsonObject,
  encodings: readonly EncodingName[],
): Promise<number | undefined> {
  const { messages, ...rest } = body;
  if (!Array.isArray(messages) || encodings.length === 0) return undefined;
  const texts: string[] = [];
  let tokens = tokensPerRequest + bytesOf(withoutSettings(rest));
  for (const one of messages) {
    const message = asObject(one);
    if (message === undefined) return undefined;
    const { role, content, ...others } = message;
    const text = textOf(content);
    if (text !== undefined) texts.push(text);
    tokens += tokensPerMessage + bytesOf(others);
    if (!roles.has(role)) tokens += bytesOf(role);
    if (text === undefined) tokens += bytesOf(content);
  }
  return tokens + (await highestCount(texts, encodings));
}

/**
 * The text of a content that is one text. Several parts count their bytes: how they are joined is not documented, and
 * the tokens of joined texts may be more than those of each.
 */
function textOf(content: unknown): string | undefined {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content) || content.length !== 1) return undefined;
  const { type, text, ...others } = asObject(content[0]) ?? {};
  const isText = type === 'text' && typeof text === 'string';
  return isText && Object.keys(others).length === 0 ? text : undefined;
}

async function highestCount(
  texts: readonly string[],
  encodings: readonly EncodingName[],
): Promise<number> {
  let highest = 0;
  for (const encoding of encodings) {
    let tokens = 0;
    for (const text of texts) tokens += await countTokens(encoding, text);
    highest = Math.max(highest, tokens);
  }
  return highest;
}

function withoutSettings(body: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(body).filter(([name]) => !settings.has(name)));
}

/** Of a value in JSON; a token covers at least one byte. */
function bytesOf(value: unknown): number {
  const text = JSON.stringify(value);
  return text === undefined || text === '{}' ? 0 : Buffer.byteLength(text);
}
