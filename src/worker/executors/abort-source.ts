/**
 * Whether an attempt has to stop, and why. As an AbortController, whose signal is made when somebody asks for it: nearly
 * all attempts end without one, and it is a large part of what an attempt costs.
 */

// Not the global, which a handler can replace.
const { AbortController } = globalThis;

type Listener = () => void;

export class AbortSource {
  #controller: AbortController | undefined;
  #listeners: Listener[] | undefined;
  #aborted = false;
  #reason: unknown;

  get aborted(): boolean {
    return this.#aborted;
  }

  /** undefined until it is aborted. */
  get reason(): unknown {
    return this.#reason;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  throwIfAborted(): void {
    if (this.#aborted) throw this.#reason;
  }

  /** The first call counts. */
  abort(reason: unknown): void {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#reason = reason;
    this.#controller?.abort(reason);
    const listeners = this.#listeners;
    this.#listeners = undefined;
    for (const listener of listeners ?? []) listener();
  }

  /** Called once, when it is aborted from now on. */
  onAbort(listener: Listener): void {
    this.#listeners ??= [];
    this.#listeners.push(listener);
  }

  offAbort(listener: Listener): void {
    this.#listeners = this.#listeners?.filter((one) => one !== listener);
  }
}
