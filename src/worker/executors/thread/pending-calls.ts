/** LLM calls of the attempts of one executor that the supervisor has not answered yet. */
import { lateCall } from '../../../llm/llm.ts';
import type { LlmCall, LlmReply } from '../../../llm/llm.ts';
import type { FromExecutor } from '../protocol.ts';

interface PendingCall {
  readonly token: string;
  readonly resolve: (reply: LlmReply) => void;
  readonly reject: (error: unknown) => void;
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
