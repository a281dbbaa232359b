/** Sends the messages of one turn of the event loop as one, in order. */
// Not the globals, which a handler can replace.
import { performance } from 'node:perf_hooks';
import { clearImmediate, setImmediate } from 'node:timers';

/** In a turn that lasts longer, because handlers compute, messages are sent in between. */
const maxAgeMs = 2;

export class Outbox<M> {
  readonly #send: (messages: readonly M[]) => void;
  #messages: M[] = [];
  #oldestAtMs = 0;
  #immediate: NodeJS.Immediate | undefined;

  constructor(send: (messages: readonly M[]) => void) {
    this.#send = send;
  }

  add(message: M): void {
    const nowMs = performance.now();
    if (this.#messages.length === 0) this.#oldestAtMs = nowMs;
    this.#messages.push(message);
    if (nowMs - this.#oldestAtMs > maxAgeMs) this.flush();
    else this.#immediate ??= setImmediate(() => this.flush());
  }

  /** Sends what waits, at once. */
  flush(): void {
    clearImmediate(this.#immediate);
    this.#immediate = undefined;
    if (this.#messages.length === 0) return;
    const messages = this.#messages;
    this.#messages = [];
    this.#send(messages);
  }
}
