/**
 * What a stream has said so far. Money follows from `finalUsage` alone: a figure that the provider reports at the end
 * of the output, after which no output came.
 */
import { tokensOf } from '../../budget/usage-classes.ts';
import { parseObject } from '../provider-body.ts';
import type { JsonObject } from '../provider-body.ts';
import type { ReportedUsage } from '../usage/reported.ts';
import type { FinishReason, ReadEvent, StreamFacts, ToolCallPiece } from './facts.ts';

/** No token of a published tokenizer has more bytes. */
const longestTokenBytes = 128;

/** The most tool calls of one answer. */
const maxToolCalls = 1_000;

export interface StreamedToolCall {
  readonly id: string;
  readonly name: string;
  /** JSON text, as the model wrote it. */
  readonly args: string;
  readonly signature: string;
}

export interface RecordOptions {
  readonly read: ReadEvent;
  readonly usageOf: (body: JsonObject) => ReportedUsage | undefined;
  readonly requestIdOf: (event: JsonObject) => string | undefined;
  /** Whether each event with output has one token or more; other servers cut tokens into pieces. */
  readonly hasWholeTokens: boolean;
}

export class StreamRecord {
  readonly #options: RecordOptions;
  readonly #toolCalls = new Map<number, StreamedToolCall>();
  #final: ReportedUsage | undefined;
  #reportedOutputTokens = 0;
  #outputEvents = 0;
  #outputBytes = 0;
  #requestId: string | undefined;
  #error: JsonObject | undefined;
  #hasFinished = false;
  /** The protocol's last event has come. */
  hasEnded = false;
  hasText = false;
  /** An event that is not JSON. */
  isMalformed = false;
  finish: FinishReason | undefined;

  constructor(options: RecordOptions) {
    this.#options = options;
  }

  /** Returns the text that the event adds to the answer. */
  add(data: string): string {
    if (data === '[DONE]') {
      this.hasEnded = true;
      return '';
    }
    const event = parseObject(data);
    if (event === undefined) {
      this.isMalformed = true;
      return '';
    }
    this.#requestId ??= this.#options.requestIdOf(event);
    return this.#note(this.#options.read(event));
  }

  /** Of a server that answered with a whole answer, which is no stream: its usage is final, its text is not read. */
  addAnswer(body: JsonObject | undefined): void {
    this.isMalformed = true;
    if (body === undefined) return;
    this.#requestId = this.#options.requestIdOf(body);
    this.#noteUsage(body, true);
    this.#hasFinished = true;
  }

  get outputBytes(): number {
    return this.#outputBytes;
  }

  get requestId(): string | undefined {
    return this.#requestId;
  }

  /** The event in which the provider said that it failed. */
  get error(): JsonObject | undefined {
    return this.#error;
  }

  /** Whether the model came to its end, as far as the provider says. */
  get isWhole(): boolean {
    return this.#error === undefined && (this.#hasFinished || this.hasEnded);
  }

  get finalUsage(): ReportedUsage | undefined {
    return this.#final;
  }

  /** Not those that the provider runs itself, which have no name here. */
  get toolCalls(): readonly StreamedToolCall[] {
    return [...this.#toolCalls.values()].filter(({ name }) => name !== '');
  }

  /** A lower bound of the output tokens that were made: by the provider's figure so far, or by what was received. */
  get receivedOutputTokens(): number {
    const { hasWholeTokens } = this.#options;
    const leastTokens = Math.ceil(this.#outputBytes / longestTokenBytes);
    const received = hasWholeTokens ? Math.max(this.#outputEvents, leastTokens) : leastTokens;
    return Math.max(this.#reportedOutputTokens, received);
  }

  #note(facts: StreamFacts): string {
    const { text = '', reasoning = '', toolCalls = [], usage } = facts;
    for (const piece of toolCalls) this.#addPiece(piece);
    const bytes = Buffer.byteLength(text) + Buffer.byteLength(reasoning) + bytesOf(toolCalls);
    if (bytes > 0) {
      this.#outputEvents += 1;
      this.#outputBytes += bytes;
      this.#final = undefined;
    }
    this.hasText ||= text !== '';
    if (facts.finish !== undefined) {
      this.finish = facts.finish;
      this.#hasFinished = true;
    }
    if (usage !== undefined) this.#noteUsage(usage.body, usage.isFinal);
    this.#error ??= facts.error;
    this.hasEnded ||= facts.isEnd === true;
    return text;
  }

  #noteUsage(body: JsonObject, isFinal: boolean): void {
    const reported = this.#options.usageOf(body);
    // The last one: Google's figures on the way are not always sums of the ones before.
    if (reported !== undefined) this.#reportedOutputTokens = tokensOf(reported.counts).outputTokens;
    if (isFinal) this.#final = reported;
  }

  #addPiece({ key, id = '', name = '', args, signature = '' }: ToolCallPiece): void {
    const known = this.#toolCalls.get(key);
    if (known === undefined && this.#toolCalls.size >= maxToolCalls) return;
    this.#toolCalls.set(key, {
      id: known?.id || id,
      name: known?.name || name,
      args: (known?.args ?? '') + args,
      signature: known?.signature || signature,
    });
  }
}

const bytesOf = (pieces: readonly ToolCallPiece[]): number =>
  pieces.reduce((sum, { name = '', args }) => sum + Buffer.byteLength(name + args), 0);
