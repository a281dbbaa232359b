/**
 * OpenAI-compatible providers by base URL (OpenAI, Groq, OpenRouter, vLLM, Ollama), on the AI SDK with
 * its retries off. The SDK writes requests and reads answers; money is held and settled beneath it.
 */
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText } from 'ai';
import { formatUsd } from '../budget/money.ts';
import { priceOf } from '../budget/prices.ts';
import type { PinnedPrice } from '../budget/prices.ts';
import { UsageError } from '../errors.ts';
import { exchange } from './exchange.ts';
import type { Exchanged } from './exchange.ts';
import type { Account } from './holds.ts';
import { LlmError } from './llm.ts';
import type { Llm, LlmAnswer, LlmRequest } from './llm.ts';
import { jsonInstructions, parseAnswer } from './structured.ts';

export interface OpenAiConfig {
  readonly kind: 'openai';
  /** Used when a request names none. */
  readonly model: string;
  readonly apiKey?: string | undefined;
  /** `/chat/completions` is added. Default https://api.openai.com/v1. */
  readonly baseUrl?: string | undefined;
  /** For one whole exchange, the reading of its body included. Default 30,000. */
  readonly timeoutMs?: number | undefined;
  /** Default 10 MiB. */
  readonly maxResponseBytes?: number | undefined;
}

const provider = 'openai';
const defaultBaseUrl = 'https://api.openai.com/v1';

// The SDK's own warnings go to the console; what matters here is an error or a log line of ours.
globalThis.AI_SDK_LOG_WARNINGS = false;

/** A door on one attempt's account. Remembers which base URL takes no JSON mode. */
export function openAiDoor(config: OpenAiConfig): (account: Account) => Llm {
  const baseUrl = config.baseUrl ?? defaultBaseUrl;
  if (!URL.canParse(baseUrl)) {
    throw new UsageError(`OPENAI_BASE_URL "${baseUrl}" is no URL; write it like ${defaultBaseUrl}`);
  }
  if (config.apiKey !== undefined && !/^[\x21-\x7e]+$/.test(config.apiKey)) {
    throw new UsageError(
      'OPENAI_API_KEY is empty or has a character that no HTTP header may carry (a line break?); set it again',
    );
  }
  const withoutJsonMode = new Set<string>();
  return (account) => ({
    generate: async <T>(request: LlmRequest<T>): Promise<LlmAnswer<T>> => {
      const model = request.model ?? config.model;
      const price = await priceOf(account.sql, { model, baseUrl });
      const jsonMode = request.schema !== undefined && !withoutJsonMode.has(model);
      const call = { config, account, request, model, price };
      try {
        return await generateOnce({ ...call, jsonMode });
      } catch (error) {
        if (!jsonMode || !refusesJsonMode(error)) throw error;
        withoutJsonMode.add(model);
        return generateOnce({ ...call, jsonMode: false });
      }
    },
  });
}

function refusesJsonMode(error: unknown): boolean {
  if (!(error instanceof LlmError) || error.code !== 'llm_bad_request') return false;
  return (
    error.details['providerParam'] === 'response_format' ||
    error.message.includes('response_format')
  );
}

interface Call<T> {
  readonly config: OpenAiConfig;
  readonly account: Account;
  readonly request: LlmRequest<T>;
  readonly model: string;
  readonly price: PinnedPrice;
  readonly jsonMode: boolean;
}

async function generateOnce<T>(call: Call<T>): Promise<LlmAnswer<T>> {
  const { request, model } = call;
  const { text, finishReason, exchanged } = await complete(call);
  const { inputTokens, outputTokens } = exchanged.usage;
  const answer = {
    text,
    usage: { inputTokens, outputTokens },
    costUsd: formatUsd(exchanged.costNanoUsd),
    analyst: { provider, model, offline: false },
  };
  if (request.schema === undefined) return answer;
  const hint =
    finishReason === 'length'
      ? `the answer was cut at maxOutputTokens (${request.maxOutputTokens})`
      : undefined;
  return { ...answer, object: await parseAnswer(text, request.schema, hint) };
}

interface Completed {
  readonly text: string;
  readonly finishReason: string;
  readonly exchanged: Exchanged;
}

async function complete<T>(call: Call<T>): Promise<Completed> {
  const { config, request, model } = call;
  const baseUrl = config.baseUrl ?? defaultBaseUrl;
  // Outside the SDK's hands: it wraps what its fetch throws, with the prompt in it.
  let failure: unknown;
  let exchanged: Exchanged | undefined;
  const sdk = createOpenAICompatible({
    name: provider,
    baseURL: baseUrl,
    ...(config.apiKey === undefined ? {} : { apiKey: config.apiKey }),
    transformRequestBody: (body) => wireBody(body, baseUrl, call.jsonMode),
    fetch: async (input, init) => {
      try {
        exchanged = await exchange(call.account, {
          url: input instanceof Request ? input.url : input.toString(),
          headers: new Headers(init?.headers),
          body: textOf(init?.body),
          maxOutputTokens: request.maxOutputTokens,
          provider,
          model,
          price: call.price,
          timeoutMs: config.timeoutMs ?? 30_000,
          maxResponseBytes: config.maxResponseBytes ?? 10 * 1024 * 1024,
          apiKey: config.apiKey,
        });
        return exchanged.response;
      } catch (error) {
        failure = error;
        throw error;
      }
    },
  });
  const { schema } = request;
  try {
    const result = await generateText({
      model: sdk.chatModel(model),
      system:
        schema === undefined ? request.system : `${request.system}\n\n${jsonInstructions(schema)}`,
      prompt: request.prompt,
      maxOutputTokens: request.maxOutputTokens,
      maxRetries: 0,
    });
    if (exchanged === undefined) throw new Error('the SDK answered without an exchange');
    return { text: result.text, finishReason: result.finishReason, exchanged };
  } catch {
    if (failure !== undefined) throw failure;
    if (exchanged === undefined) {
      throw new LlmError(
        'llm_bad_request',
        `the request for model ${model} could not be written; nothing was sent`,
        { class: 'fatal', outcome: 'released' },
      );
    }
    // No cause: the SDK's errors carry the prompt and the whole response.
    throw new LlmError(
      'llm_bad_response',
      `${new URL(baseUrl).host} answered model ${model} with something that is no chat completion`,
      { class: 'retry', outcome: 'settled' },
    );
  }
}

/** The body that is held for and sent: one choice, one cap, in the word that this server knows. */
function wireBody(
  body: Record<string, unknown>,
  baseUrl: string,
  jsonMode: boolean,
): Record<string, unknown> {
  const { max_tokens: cap, ...rest } = body;
  // OpenAI's newer models refuse max_tokens; most other servers know no other word.
  const word = new URL(baseUrl).host === 'api.openai.com' ? 'max_completion_tokens' : 'max_tokens';
  const format = jsonMode ? { response_format: { type: 'json_object' } } : {};
  return { ...rest, [word]: cap, ...format };
}

function textOf(body: unknown): string {
  if (typeof body === 'string') return body;
  throw new Error('the SDK sent a body that is not text');
}
