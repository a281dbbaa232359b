/**
 * What differs between the wire protocols of providers. Holds, failures and the reading of answers are
 * the same for all of them.
 */
import type { LanguageModel } from 'ai';
import type { JsonObject } from './provider-body.ts';
import type { BilledUsage } from './usage.ts';

export type ProviderKind = 'openai' | 'anthropic' | 'google';

export interface Connection {
  readonly baseUrl: string;
  readonly apiKey: string | undefined;
  /** The only way to the network that an SDK gets. */
  readonly fetch: (input: string | URL | Request, init?: RequestInit) => Promise<Response>;
}

export interface Protocol {
  readonly kind: ProviderKind;
  /** For messages: what an address must speak. */
  readonly name: string;
  readonly apiKeyVariable: string;
  readonly baseUrlVariable: string;
  readonly defaultBaseUrl: string;
  /** Given to a base URL that has none; undefined leaves it as it is. */
  readonly defaultPath?: string;
  /** False where local servers of this protocol take any caller. */
  readonly needsKey: boolean;
  /** Whether a request can ask for JSON beyond the words of its prompt. */
  readonly hasJsonMode: boolean;
  /** Loads the SDK's package on the first call, so that a process loads only what it uses. */
  open(connection: Connection, model: string): Promise<LanguageModel>;
  /** The body that is held for and sent, from the one that the SDK wrote. */
  wireBody(body: JsonObject, options: { baseUrl: string; jsonMode: boolean }): JsonObject;
  /** What an answer says that it used; undefined where that is missing or makes no sense. */
  usageOf(body: JsonObject): BilledUsage | undefined;
  /** The answer as the SDK may see it, where that is not as it came. */
  readableAnswer?(text: string): string;
}
