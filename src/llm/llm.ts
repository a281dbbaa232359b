/**
 * The LLM contract of a handler, where a call is reserved, sent and settled before it returns; and the plain
 * data that the executor thread and the supervisor exchange for it.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { PurserError } from '../errors.ts';
import type { LlmTool, LlmToolChoice, ReplyToolCall } from './prompt/conversation.ts';
import type { LlmMessage, LlmToolCall } from './prompt/messages.ts';

interface LlmRequestFields<T> {
  /** When given, the answer must be JSON that this schema accepts; it comes back as `object`. */
  readonly schema?: StandardSchemaV1<unknown, T>;
  /** Overrides the configured model. It must have a price. */
  readonly model?: string;
  /** Maximum output in tokens; part of the request and of the hold. */
  readonly maxOutputTokens: number;
  /**
   * Cheaper forms of the request, at most 5, tried in their order where the one before does not fit into a budget or is
   * stopped; what is left out of one is as in the request. The answer's `analyst` names the model that was called.
   */
  readonly fallbacks?: readonly LlmFallback[];
  /** Lets the last form have a smaller cap, down to this, where its own does not fit. At most that cap. */
  readonly minOutputTokens?: number;
  /** The tenant's own user that the call is made for; budgets may limit each. 1 to 200 characters. */
  readonly endUser?: string;
  /** Of the whole exchange, 1 to 600,000. Default: `llmTimeoutMs` of the handler, else LLM_TIMEOUT_SECONDS. */
  readonly timeoutMs?: number;
  /** By name. The model may answer with calls of them, which the handler runs: `toolCalls` of the answer. */
  readonly tools?: Readonly<Record<string, LlmTool>>;
  readonly toolChoice?: LlmToolChoice;
}

export interface LlmFallback {
  /** It must have a price. */
  readonly model?: string;
  readonly maxOutputTokens?: number;
}
/** A prompt is one text, or a list of messages. */
export type LlmRequest<T> = LlmRequestFields<T> &
  (
    | { readonly system: string; readonly prompt: string; readonly messages?: undefined }
    | {
        readonly system?: string;
        readonly messages: readonly LlmMessage[];
        readonly prompt?: undefined;
      }
  );

interface LlmUsage {
  readonly inputTokens: number;
  readonly outputTokens: number;
}

/** The provider and model that answered. `offline` is true for a local analyst, which is not a language model. */
export interface Analyst {
  readonly provider: string;
  readonly model: string;
  readonly offline: boolean;
}

export interface LlmAnswer<T> {
  readonly text: string;
  /** Where there is a schema, and no tool was called. */
  readonly object?: T;
  /** What the model wants to call, where it does. Send it back as parts of the type `tool_call`, with their results. */
  readonly toolCalls?: readonly LlmToolCall[];
  readonly usage: LlmUsage;
  /** Charged to the tenant: an exact decimal string in USD. */
  readonly costUsd: string;
  readonly analyst: Analyst;
}

/** A request to the gateway. Plain data: the schema stays in the handler's thread. */
export interface LlmCall {
  /** Includes the instructions for JSON. */
  readonly system: string;
  readonly prompt: string;
  /** Messages and tools in place of the prompt, as JSON text. */
  readonly conversation?: string;
  /** Requests JSON, also by a field of the request where the protocol has one. */
  readonly json: boolean;
  readonly model?: string;
  readonly maxOutputTokens: number;
  readonly fallbacks?: readonly LlmFallback[];
  readonly minOutputTokens?: number;
  readonly endUser?: string;
  readonly timeoutMs?: number;
}

/** The gateway's answer, already charged. Plain data. */
export interface LlmReply {
  readonly text: string;
  readonly usage: LlmUsage;
  readonly costUsd: string;
  readonly analyst: Analyst;
  readonly toolCalls?: readonly ReplyToolCall[];
  /** Why the text may not be what was asked for. */
  readonly hint?: string;
}

/** Text as it comes, and the whole answer at its end. The call begins with the first use of either. */
export interface LlmStream<T> extends AsyncIterable<string> {
  /**
   * The whole answer, charged. Rejects like `Llm.generate`; with `llm_aborted` after the loop over the text was left
   * before its end. Where nobody awaits it, its rejection is no unhandled one.
   */
  readonly answer: Promise<LlmAnswer<T>>;
}

/** Reserves, sends, settles. Throws what `Llm.generate` throws, except `LlmOutputError`. */
export type CallLlm = (call: LlmCall) => Promise<LlmReply>;

export interface Llm {
  /**
   * Reserves the worst case, calls, settles. Throws `BudgetExceededError` before anything is sent,
   * `LlmOutputError` when the answer does not match the schema (already charged), or a `PurserError`
   * with `details.class` `fatal`, `retry` or `snooze` (with `details.retryAfterMs`).
   */
  generate<T = never>(request: LlmRequest<T>): Promise<LlmAnswer<T>>;
  /**
   * The same, with its text as it comes: `for await (const text of llm.stream(request))`. The loop ends when the
   * answer is charged, and throws what `generate` throws; a wrong request throws at once. Leave it with `break`: the
   * provider is read on for its usage, and nothing more is kept.
   */
  stream<T = never>(request: LlmRequest<T>): LlmStream<T>;
}

/** How a failed call ends for the job. `snooze` uses no attempt and waits `retryAfterMs`. */
export type LlmFailureClass = 'fatal' | 'retry' | 'snooze';

/** How the hold ended: `released` was certainly not billed, `unknown` stays charged at the hold. */
export type LlmMoneyOutcome = 'released' | 'unknown' | 'settled';

export interface LlmFailure {
  readonly class: LlmFailureClass;
  readonly outcome: LlmMoneyOutcome;
  readonly retryAfterMs?: number;
  readonly [detail: string]: unknown;
}

/** A failed call, with the class that the worker acts on and the end of its hold. */
export class LlmError extends PurserError {
  override readonly name = 'LlmError';

  constructor(code: string, message: string, failure: LlmFailure, cause?: unknown) {
    super(code, message, { details: { ...failure }, ...(cause === undefined ? {} : { cause }) });
  }
}

/** The answer was charged but does not match the schema. The caller may repair it once. */
export class LlmOutputError extends PurserError {
  override readonly name = 'LlmOutputError';
  readonly text: string;
  readonly issues: readonly string[];

  constructor(text: string, issues: readonly string[]) {
    super('llm_output_invalid', `the answer does not match the schema: ${issues.join('; ')}`, {
      details: { class: 'retry', outcome: 'settled', issues },
    });
    this.text = text;
    this.issues = issues;
  }
}

/** Of a stream that its handler reads no more. */
export const leftStream = (): LlmError =>
  new LlmError(
    'llm_aborted',
    'the handler left the stream before its end; its usage is charged when the provider reports it, else its worst case',
    { class: 'retry', outcome: 'unknown' },
  );

/** Of a call whose attempt has ended. The supervisor settles what was sent, whatever becomes of its answer. */
export const lateCall = (): LlmError =>
  new LlmError(
    'llm_aborted',
    'the attempt ended before this LLM call was answered; await every call before the handler returns',
    { class: 'retry', outcome: 'unknown' },
  );
