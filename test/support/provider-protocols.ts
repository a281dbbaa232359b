/** The wire protocols that the local provider speaks: routes, keys, answers, usage and error bodies. */
import type { IncomingHttpHeaders } from 'node:http';
import { countTokens } from 'gpt-tokenizer';
import type { StreamedToolCall } from './streaming/wire-events.ts';

export type WireProtocol = 'openai' | 'anthropic' | 'google';
export const wireProtocols = ['openai', 'anthropic', 'google'] as const;

/** What the provider would bill, in its own book's terms, whatever the protocol. */
export interface WireUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens?: number;
  readonly prompt_tokens_details?: { readonly cached_tokens: number };
  readonly completion_tokens_details?: { readonly reasoning_tokens: number };
}

interface GoogleContent {
  readonly parts?: readonly { readonly text?: string }[];
}

/** The fields of any of the protocols' requests that tests and the provider look at. */
export interface WireBody {
  readonly model?: string;
  readonly max_tokens?: number;
  readonly max_completion_tokens?: number;
  readonly response_format?: { readonly type: string };
  readonly messages?: readonly { readonly role: string; readonly content: unknown }[];
  readonly system?: unknown;
  readonly contents?: readonly GoogleContent[];
  readonly systemInstruction?: GoogleContent;
  readonly stream?: boolean;
  readonly stream_options?: object;
  readonly tools?: readonly unknown[];
  readonly generationConfig?: {
    readonly maxOutputTokens?: number;
    readonly responseMimeType?: string;
  };
}

interface Answer {
  readonly content: string;
  readonly toolCalls: readonly StreamedToolCall[];
  readonly requestId: string;
  /** As it stands in the body; null leaves it out. */
  readonly usage: object | null;
  readonly finish: 'stop' | 'length' | 'refused';
  readonly model: string | undefined;
}

export interface Speaker {
  readonly protocol: WireProtocol;
  /** Follows the server's address. */
  readonly basePath: string;
  /** The path of a request for `model`. */
  readonly route: RegExp;
  keyOf(headers: IncomingHttpHeaders): string | undefined;
  isStream(path: string, body: WireBody): boolean;
  /** Of a response with this id. */
  idHeaders(requestId: string): Record<string, string>;
  answer(answer: Answer): object;
  usage(billed: WireUsage): object;
  error(status: number): object;
}

const one = (value: string | string[] | undefined) => (Array.isArray(value) ? value[0] : value);

const googleStatuses: Readonly<Record<number, string>> = {
  400: 'INVALID_ARGUMENT',
  401: 'UNAUTHENTICATED',
  403: 'PERMISSION_DENIED',
  404: 'NOT_FOUND',
  429: 'RESOURCE_EXHAUSTED',
  500: 'INTERNAL',
  503: 'UNAVAILABLE',
  504: 'DEADLINE_EXCEEDED',
};
const anthropicTypes: Readonly<Record<number, string>> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  500: 'api_error',
  529: 'overloaded_error',
};
const scriptedMessage = (status: number) => `This is scripted: ${status}.`;

export const speakers: Readonly<Record<WireProtocol, Speaker>> = {
  openai: {
    protocol: 'openai',
    isStream: (_path, { stream }) => stream === true,
    idHeaders: (id) => ({ 'x-request-id': id }),
    basePath: '/v1',
    route: /^\/v1\/chat\/completions$/,
    keyOf: (headers) => headers.authorization?.replace(/^Bearer /, ''),
    answer: ({ content, toolCalls, usage, finish, model }) => ({
      id: 'chatcmpl-test',
      object: 'chat.completion',
      created: 1_700_000_000,
      model,
      choices: [
        {
          index: 0,
          message: {
            role: 'assistant',
            content,
            ...(toolCalls.length === 0
              ? {}
              : {
                  tool_calls: toolCalls.map(({ id, name, args }) => ({
                    id,
                    type: 'function',
                    function: { name, arguments: args },
                  })),
                }),
          },
          finish_reason:
            finish === 'refused' ? 'content_filter' : toolCalls.length > 0 ? 'tool_calls' : finish,
        },
      ],
      ...(usage === null ? {} : { usage }),
    }),
    usage: (billed) => billed,
    error: (status) => ({ error: { message: scriptedMessage(status), type: 'scripted_error' } }),
  },
  anthropic: {
    protocol: 'anthropic',
    isStream: (_path, { stream }) => stream === true,
    idHeaders: (id) => ({ 'request-id': id }),
    basePath: '/anthropic/v1',
    route: /^\/anthropic\/v1\/messages$/,
    keyOf: (headers) => one(headers['x-api-key']),
    answer: ({ content, toolCalls, usage, finish, model }) => ({
      id: 'msg_test',
      type: 'message',
      role: 'assistant',
      model,
      content: [
        ...(content === '' ? [] : [{ type: 'text', text: content }]),
        ...toolCalls.map(({ id, name, args }) => ({
          type: 'tool_use',
          id,
          name,
          input: JSON.parse(args) as object,
        })),
      ],
      stop_reason:
        toolCalls.length > 0
          ? 'tool_use'
          : { stop: 'end_turn', length: 'max_tokens', refused: 'refusal' }[finish],
      stop_sequence: null,
      ...(usage === null ? {} : { usage }),
    }),
    usage: ({ prompt_tokens, completion_tokens }) => ({
      input_tokens: prompt_tokens,
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: 0,
      output_tokens: completion_tokens,
    }),
    error: (status) => ({
      type: 'error',
      error: { type: anthropicTypes[status] ?? 'api_error', message: scriptedMessage(status) },
      request_id: 'req_test',
    }),
  },
  google: {
    protocol: 'google',
    isStream: (path) => path.includes(':streamGenerateContent?alt=sse'),
    idHeaders: () => ({}),
    basePath: '/google/v1beta',
    route: /^\/google\/v1beta\/models\/[\w.-]+:(generateContent|streamGenerateContent\?alt=sse)$/,
    keyOf: (headers) => one(headers['x-goog-api-key']),
    answer: ({ content, toolCalls, usage, finish, model, requestId }) => ({
      candidates: [
        {
          content: {
            role: 'model',
            parts: [
              { text: content },
              ...toolCalls.map(({ name, args }) => ({
                functionCall: { name, args: JSON.parse(args) as object },
                thoughtSignature: 'c2ln',
              })),
            ],
          },
          finishReason: { stop: 'STOP', length: 'MAX_TOKENS', refused: 'SAFETY' }[finish],
          index: 0,
        },
      ],
      modelVersion: model,
      responseId: requestId,
      ...(usage === null ? {} : { usageMetadata: usage }),
    }),
    usage: ({ prompt_tokens, completion_tokens }) => ({
      promptTokenCount: prompt_tokens,
      // As protobuf writes it: a zero is not there.
      ...(completion_tokens === 0 ? {} : { candidatesTokenCount: completion_tokens }),
      totalTokenCount: prompt_tokens + completion_tokens,
    }),
    error: (status) => ({
      error: {
        code: status,
        message: scriptedMessage(status),
        status: googleStatuses[status] ?? 'UNKNOWN',
      },
    }),
  },
};

function textsOf(body: WireBody): string[] {
  const messages = (body.messages ?? []).map(({ content }) => content);
  const contents = [body.systemInstruction, ...(body.contents ?? [])].flatMap(
    (content) => content?.parts ?? [],
  );
  return [body.system, body.tools, ...messages, ...contents]
    .filter((content) => content !== undefined)
    .map((content) => (typeof content === 'string' ? content : JSON.stringify(content)));
}

export type CountTokens = (text: string) => number;

const noneSpecial = new Set<string>();
export const countOfO200k: CountTokens = (text) =>
  countTokens(text, { disallowedSpecial: noneSpecial });

/** Counted with a real tokenizer, plus what a chat template adds; never more than the cap for output. */
export function countedUsage(body: WireBody, content: string, count: CountTokens): WireUsage {
  const prompt = textsOf(body).reduce((sum, text) => sum + 4 + count(text), 3);
  const cap =
    body.max_tokens ?? body.max_completion_tokens ?? body.generationConfig?.maxOutputTokens;
  const output = Math.min(count(content), cap ?? Number.POSITIVE_INFINITY);
  return { prompt_tokens: prompt, completion_tokens: output, total_tokens: prompt + output };
}
