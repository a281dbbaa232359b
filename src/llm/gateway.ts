/**
 * Calls a provider in its own wire protocol, with the AI SDK and its retries off. The SDK writes requests and
 * reads answers; its `fetch` reserves and settles money, one hold per request.
 */
import { formatUsd } from '../budget/money.ts';
import type { PinnedPrice } from '../budget/pinned-price.ts';
import { UsageError } from '../errors.ts';
import { exchange } from './exchange.ts';
import type { Exchanged, TakenOnce } from './exchange.ts';
import type { Account } from './holds.ts';
import type { OwnKey } from './keys/own-key.ts';
import { LlmError } from './llm.ts';
import type { LlmCall, LlmReply } from './llm.ts';
import type { Connection, Protocol, ProviderKind } from './protocol.ts';
import { askSdk } from './prompt/ask-sdk.ts';
import type { SdkAnswer } from './prompt/ask-sdk.ts';
import type { Conversation } from './prompt/conversation.ts';
import { parseObject } from './provider-body.ts';

export interface ProviderConfig {
  readonly kind: ProviderKind;
  /** Used when a request names none. */
  readonly model: string;
  readonly apiKey?: string | undefined;
  /** Default: the provider's own. */
  readonly baseUrl?: string | undefined;
  /** For one whole exchange, the reading of its body included. Default 30,000. */
  readonly timeoutMs?: number | undefined;
  /** Of models that have another one. */
  readonly modelTimeoutsMs?: ReadonlyMap<string, number> | undefined;
  /** Default 10 MiB. */
  readonly maxResponseBytes?: number | undefined;
}

// The SDK writes its warnings to the console.
globalThis.AI_SDK_LOG_WARNINGS = false;

export interface Provider {
  readonly protocol: Protocol;
  readonly config: ProviderConfig;
  readonly baseUrl: string;
  /** Models that refused it. */
  readonly withoutJsonMode: Set<string>;
  /** The tenant's, where the configuration has the key of a tenant. */
  readonly ownKey?: OwnKey | undefined;
}

/** Throws a `UsageError` for a base URL or a key that cannot be used. */
export function openProvider(protocol: Protocol, config: ProviderConfig): Provider {
  const baseUrl = baseUrlOf(protocol, config);
  checkKey(protocol, config.apiKey);
  return { protocol, config, baseUrl, withoutJsonMode: new Set() };
}

/** The configured base URL with the protocol's path, else the provider's own. */
export function baseUrlOf(protocol: Protocol, config: Pick<ProviderConfig, 'baseUrl'>): string {
  const { baseUrlVariable, defaultBaseUrl, defaultPath = '' } = protocol;
  const given = config.baseUrl ?? defaultBaseUrl;
  if (!URL.canParse(given)) {
    throw new UsageError(`${baseUrlVariable} is not a URL; write it like ${defaultBaseUrl}`);
  }
  const withoutSlash = given.replace(/\/+$/, '');
  return new URL(given).pathname === '/' ? `${withoutSlash}${defaultPath}` : withoutSlash;
}

function checkKey({ apiKeyVariable, needsKey }: Protocol, apiKey: string | undefined): void {
  if (apiKey === undefined && !needsKey) return;
  if (apiKey !== undefined && /^[\x21-\x7e]+$/.test(apiKey)) return;
  throw new UsageError(
    `${apiKeyVariable} is empty or has a character that no HTTP header may carry (a line break?); set it again`,
  );
}

export interface Call {
  readonly protocol: Protocol;
  readonly config: ProviderConfig;
  readonly baseUrl: string;
  readonly account: Account;
  readonly asked: LlmCall;
  readonly conversation: Conversation | undefined;
  readonly model: string;
  readonly price: PinnedPrice;
  readonly jsonMode: boolean;
  readonly ownKey: OwnKey | undefined;
  /** The hold that was taken for it already. */
  readonly reserved?: TakenOnce | undefined;
}

/** Runs one call. */
export const callOnce = async (call: Call): Promise<LlmReply> =>
  replyOf(call, await complete(call));

export interface Completed extends SdkAnswer {
  readonly isEmpty: boolean;
  readonly exchanged: Pick<Exchanged, 'usage' | 'costNanoUsd'>;
}

/** Throws `llm_refused` where a content filter took the whole answer. */
export function replyOf(call: Call, completed: Completed): LlmReply {
  const { asked, model, protocol } = call;
  const { text, isEmpty, finishReason, toolCalls, exchanged } = completed;
  const { inputTokens, outputTokens, reasoningTokens } = exchanged.usage;
  if (finishReason === 'content-filter' && isEmpty) {
    throw new LlmError(
      'llm_refused',
      `${new URL(call.baseUrl).host} blocked the answer of model ${model} (content filter); the call was ` +
        'charged, and a repetition would be blocked too; change the prompt',
      { class: 'fatal', outcome: 'settled' },
    );
  }
  const thought = reasoningTokens > 0 ? `, ${reasoningTokens} of them for reasoning` : '';
  const cut = `the answer was truncated at maxOutputTokens (${asked.maxOutputTokens})${thought}`;
  return {
    text,
    usage: { inputTokens, outputTokens },
    costUsd: formatUsd(exchanged.costNanoUsd),
    analyst: { provider: protocol.kind, model, offline: false },
    ...(toolCalls.length === 0 ? {} : { toolCalls }),
    ...(finishReason === 'length' ? { hint: cut } : {}),
  };
}

/** What a request needs beside its address, headers and body. */
export function requestOf(call: Call) {
  const { protocol, config, model, price, asked } = call;
  return {
    maxOutputTokens: asked.maxOutputTokens,
    protocol,
    model,
    price,
    timeoutMs: timeoutOf(call),
    maxResponseBytes: config.maxResponseBytes ?? 10 * 1024 * 1024,
    apiKey: config.apiKey,
    ownKey: call.ownKey,
    endUser: asked.endUser,
    reserved: call.reserved,
  };
}

async function complete(call: Call): Promise<Completed> {
  const { protocol, config, model, baseUrl } = call;
  // Kept here because the SDK wraps what its fetch throws, with the prompt in it.
  let failure: unknown;
  let exchanged: Exchanged | undefined;
  const fetch: Connection['fetch'] = async (input, init) => {
    try {
      if (exchanged !== undefined) throw new Error('the SDK sent a second request for one call');
      const body = protocol.wireBody(bodyOf(init?.body), { baseUrl, jsonMode: call.jsonMode });
      exchanged = await exchange(call.account, {
        url: input instanceof Request ? input.url : input.toString(),
        headers: new Headers(init?.headers),
        body: JSON.stringify(body),
        ...requestOf(call),
      });
      return exchanged.response;
    } catch (error) {
      failure = error;
      throw error;
    }
  };
  const sdk = await protocol.open({ baseUrl, apiKey: config.apiKey, fetch }, model);
  try {
    const answer = await askSdk(sdk, call.asked, call.conversation);
    if (exchanged === undefined) throw new Error('the SDK answered without an exchange');
    const isEmpty = answer.text.trim() === '' && answer.toolCalls.length === 0;
    return { ...answer, isEmpty, exchanged };
  } catch {
    if (failure !== undefined) throw failure;
    if (exchanged === undefined) {
      throw notWritten(model);
    }
    // No cause: the SDK's errors carry the prompt and the whole response.
    throw new LlmError(
      'llm_bad_response',
      `${new URL(baseUrl).host} answered model ${model} with a body that is not a valid answer in ${protocol.name}`,
      { class: 'retry', outcome: 'settled' },
    );
  }
}

const defaultTimeoutMs = 30_000;

/** The call's own, else its handler's, the model's, or the usual one. */
function timeoutOf({ asked, account, config, model }: Call): number {
  const { timeoutMs = defaultTimeoutMs, modelTimeoutsMs } = config;
  return asked.timeoutMs ?? account.llmTimeoutMs ?? modelTimeoutsMs?.get(model) ?? timeoutMs;
}

export const notWritten = (model: string): LlmError =>
  new LlmError(
    'llm_bad_request',
    `the request for model ${model} could not be written; nothing was sent`,
    { class: 'fatal', outcome: 'released' },
  );

/** The SDK's body of a request. */
export function bodyOf(body: unknown) {
  const parsed = typeof body === 'string' ? parseObject(body) : undefined;
  if (parsed === undefined) throw new Error('the SDK sent a body that is not a JSON object');
  return parsed;
}
