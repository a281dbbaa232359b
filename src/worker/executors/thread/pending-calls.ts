/** LLM calls and streams of the attempts of one executor that the supervisor has not answered yet. */
import { lateCall, leftStream } from '../../../llm/llm.ts';
import type { LlmCall, LlmReply } from '../../../llm/llm.ts';
import type { StreamLink } from '../../../llm/streams/handler-stream.ts';
import type { FromExecutor } from '../protocol.ts';

interface PendingCall {
  readonly token: string;
  readonly resolve: (reply: LlmReply) => void;
  readonly reject: (error: unknown) => void;
  /** Of a stream. */
  readonly onText?: (text: string) => void;
}

export class PendingCalls {
  readonly #post: (message: FromExecutor) => void;
  readonly #calls = new Map<number, PendingCall>();
  #lastCallId = 0;

  constructor(post: (message: FromExecutor) => void) {
    this.#post = post;
  }

  send(token: string, call: LlmCall): Promise<LlmReply> {
    this.#lastCallId += 1;
    const callId = this.#lastCallId;
    return new Promise((resolve, reject) => {
      this.#calls.set(callId, { token, resolve, reject });
      this.#post({ kind: 'llm_call', token, callId, call });
    });
  }

  openStream(token: string, call: LlmCall, onText: (text: string) => void): StreamLink {
    this.#lastCallId += 1;
    const callId = this.#lastCallId;
    const reply = new Promise<LlmReply>((resolve, reject) => {
      this.#calls.set(callId, { token, resolve, reject, onText });
    });
    this.#post({ kind: 'llm_stream', token, callId, call });
    return {
      reply,
      read: (length) => {
        if (this.#calls.has(callId)) this.#post({ kind: 'llm_stream_read', callId, length });
      },
      leave: () => {
        const pending = this.take(callId);
        if (pending === undefined) return;
        this.#post({ kind: 'llm_stream_left', callId });
        pending.reject(leftStream());
      },
    };
  }

  /** Text of a stream. */
  text(callId: number, text: string): void {
    this.#calls.get(callId)?.onText?.(text);
  }

  take(callId: number): PendingCall | undefined {
    const pending = this.#calls.get(callId);
    this.#calls.delete(callId);
    return pending;
  }

  /** A call without an answer would keep its room among the calls in flight. */
  end(token: string): void {
    for (const [callId, call] of this.#calls) {
      if (call.token === token) this.take(callId)?.reject(lateCall());
    }
  }
}
