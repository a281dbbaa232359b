/** How much text may be on its way to a reader that has not read it, and the signal that it reads no more. */
import type { StreamReader } from './exchange-stream.ts';

/** In UTF-16 units: more than most answers, so that a slow reader rarely holds up a provider. */
const windowLength = 64 * 1024;

export class StreamWindow implements StreamReader {
  readonly #send: (text: string) => void;
  readonly #left = new AbortController();
  #unread = 0;
  #resume: (() => void) | undefined;

  constructor(send: (text: string) => void) {
    this.#send = send;
  }

  get signal(): AbortSignal {
    return this.#left.signal;
  }

  take(text: string): Promise<void> | undefined {
    if (this.signal.aborted) return undefined;
    this.#unread += text.length;
    this.#send(text);
    if (this.#unread <= windowLength) return undefined;
    return new Promise((resolve) => {
      this.#resume = resolve;
    });
  }

  /** The reader has read so many units. */
  read(length: number): void {
    this.#unread = Math.max(0, this.#unread - length);
    if (this.#unread > windowLength) return;
    this.#resume?.();
    this.#resume = undefined;
  }

  /** The reader reads no more. */
  leave(): void {
    this.#left.abort();
    this.#resume?.();
    this.#resume = undefined;
  }
}
