/**
 * What a handler sees of an LLM: one call that is held, sent and settled before it returns; and what of it
 * crosses from the thread of the handler to the door. Nothing else in Purser can reach a provider.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { PurserError } from '../errors.ts';

export interface LlmRequest<T> {
  readonly system: string;
  readonly prompt: string;
  /** When given, the answer must be JSON that this schema accepts; it comes back as `object`. */
  readonly schema?: StandardSchemaV1<unknown, T>;
  /** Overrides the configured model. It must have a price. */
  readonly model?: string;
  /** The cap that goes into the request and into the hold, in tokens. */
  readonly maxOutputTokens: number;
}

interface LlmUsage {
  readonly inputTokens: number;
  readonly outputTokens: number;
}

/** Who answered. `offline` is true for the statistical analyst, which is not a language model. */
export interface Analyst {
  readonly provider: string;
  readonly model: string;
  readonly offline: boolean;
}

export interface LlmAnswer<T> {
  readonly text: string;
  readonly object?: T;
  readonly usage: LlmUsage;
  /** What was charged to the tenant, an exact decimal string in USD. */
  readonly costUsd: string;
  readonly analyst: Analyst;
}

/** A request as it is sent to the door. Plain data: the schema stays with the handler. */
export interface LlmCall {
  /** With the instructions for JSON in it. */
  readonly system: string;
  readonly prompt: string;
  /** The answer is asked for as JSON, also beyond the words of the prompt where the provider has a way to. */
  readonly json: boolean;
  readonly model?: string;
  readonly maxOutputTokens: number;
}

/** The door's answer, paid for. Plain data. */
export interface LlmReply {
  readonly text: string;
  readonly usage: LlmUsage;
  readonly costUsd: string;
  readonly analyst: Analyst;
  /** Why the text may not be what was asked for. */
  readonly hint?: string;
}

/** Holds, sends, settles. Throws what `Llm.generate` throws, but for `LlmOutputError`. */
export type CallLlm = (call: LlmCall) => Promise<LlmReply>;

export interface Llm {
  /**
   * Reserves the worst case, calls, settles. Throws `BudgetExceededError` before anything is sent,
   * `LlmOutputError` when the answer does not fit the schema (already paid for), or a `PurserError`
   * with `details.class` `fatal`, `retry` or `snooze` (with `details.retryAfterMs`).
   */
  generate<T = never>(request: LlmRequest<T>): Promise<LlmAnswer<T>>;
}

/** How a failed call ends for the job. `snooze` burns no attempt and waits `retryAfterMs`. */
export type LlmFailureClass = 'fatal' | 'retry' | 'snooze';

/** What became of the hold: `released` was surely not billed, `unknown` stays charged at the hold. */
export type LlmMoneyOutcome = 'released' | 'unknown' | 'settled';

export interface LlmFailure {
  readonly class: LlmFailureClass;
  readonly outcome: LlmMoneyOutcome;
  readonly retryAfterMs?: number;
  readonly [detail: string]: unknown;
}

/** A call that failed, with the class the worker acts on and what became of the money. */
export class LlmError extends PurserError {
  override readonly name = 'LlmError';

  constructor(code: string, message: string, failure: LlmFailure, cause?: unknown) {
    super(code, message, { details: { ...failure }, ...(cause === undefined ? {} : { cause }) });
  }
}

/** The answer was paid for but is not what the schema asks. The caller may repair it once. */
export class LlmOutputError extends PurserError {
  override readonly name = 'LlmOutputError';
  readonly text: string;
  readonly issues: readonly string[];

  constructor(text: string, issues: readonly string[]) {
    super('llm_output_invalid', `the answer does not fit the schema: ${issues.join('; ')}`, {
      details: { class: 'retry', outcome: 'settled', issues },
    });
    this.text = text;
    this.issues = issues;
  }
}
