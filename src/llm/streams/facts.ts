/** What one event of a provider's stream says, the same for every protocol. */
import type { JsonObject } from '../provider-body.ts';

export type FinishReason = 'stop' | 'length' | 'content-filter';

/** A piece of a tool call; pieces with the same key are one call. */
export interface ToolCallPiece {
  readonly key: number;
  readonly id?: string | undefined;
  readonly name?: string | undefined;
  /** Of its arguments as JSON text. */
  readonly args: string;
  /** What the provider wants back with the call. */
  readonly signature?: string | undefined;
}

export interface StreamFacts {
  /** Of the answer. */
  readonly text?: string;
  /** What the model thought, which is billed as output and is no part of the answer. */
  readonly reasoning?: string;
  readonly toolCalls?: readonly ToolCallPiece[];
  readonly usage?: {
    /** As in the body of an answer that is not streamed. */
    readonly body: JsonObject;
    /** False: a figure on the way, which more output may follow. */
    readonly isFinal: boolean;
  };
  readonly finish?: FinishReason | undefined;
  /** The provider failed in the middle; the event with its error. */
  readonly error?: JsonObject;
  /** No event follows. */
  readonly isEnd?: boolean;
}

/** Reads the events of one stream, in order. Never throws. */
export type ReadEvent = (event: JsonObject) => StreamFacts;

export const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
