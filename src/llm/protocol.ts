/**
 * What differs between the wire protocols of providers; holds, failures and the reading of answers are the same for
 * all. To add one: a file that exports a `Protocol`, its entry in create-llm.ts, and its variables in config-schema.ts.
 */
import type { LanguageModel } from 'ai';
import type { JsonObject } from './provider-body.ts';
import type { ReportedUsage } from './usage/reported.ts';

export type ProviderKind = 'openai' | 'anthropic' | 'google';

export interface Connection {
  readonly baseUrl: string;
  readonly apiKey: string | undefined;
  /** The SDK's only access to the network. */
  readonly fetch: (input: string | URL | Request, init?: RequestInit) => Promise<Response>;
}

export interface Protocol {
  readonly kind: ProviderKind;
  /** For messages. */
  readonly name: string;
  readonly apiKeyVariable: string;
  readonly baseUrlVariable: string;
  readonly defaultBaseUrl: string;
  /** Appended to a base URL without a path. */
  readonly defaultPath?: string;
  /** False where local servers of this protocol need no key. */
  readonly needsKey: boolean;
  /** Whether a request has a field that asks for JSON. */
  readonly hasJsonMode: boolean;
  /** Loads the SDK's package on the first call, so that a process loads only the one it uses. */
  open(connection: Connection, model: string): Promise<LanguageModel>;
  /** The body that is reserved for and sent, made from the SDK's. */
  wireBody(body: JsonObject, options: { baseUrl: string; jsonMode: boolean }): JsonObject;
  /** The usage in an answer; undefined where it is missing or invalid. */
  usageOf(body: JsonObject): ReportedUsage | undefined;
  /** A request header that takes the client's own id of the request. */
  readonly clientRequestIdHeader?: string;
  /** Rewrites an answer before the SDK reads it. */
  readableAnswer?(text: string): string;
}
