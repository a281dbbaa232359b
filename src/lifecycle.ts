/**
 * Opening in order and closing in reverse: what a process opened is closed once, whatever ends it, and
 * SIGTERM or SIGINT, also twice or during start-up, lead to one orderly close that ends before a platform
 * would kill the process.
 */
import type { Logger } from './log.ts';

interface Closable {
  readonly name: string;
  readonly close: () => Promise<void>;
}

/** Platforms kill 30 s after SIGTERM. A part that waits for a store that is away has to be left behind. */
const closeWithinMs = 27_000;
const leastPerPartMs = 500;

export class Lifecycle {
  readonly #log: Logger;
  readonly #closeWithinMs: number;
  readonly #open: Closable[] = [];
  readonly #stop = new AbortController();
  #closing: Promise<void> | undefined;
  #byForce = false;

  constructor(log: Logger, options: { readonly closeWithinMs?: number } = {}) {
    this.#log = log;
    this.#closeWithinMs = options.closeWithinMs ?? closeWithinMs;
  }

  /** Aborts when the process was asked to stop. */
  get stopSignal(): AbortSignal {
    return this.#stop.signal;
  }

  get byForce(): boolean {
    return this.#byForce;
  }

  /** Registers what has to be closed; the last one registered closes first. */
  opened(name: string, close: () => Promise<void>): void {
    this.#open.push({ name, close });
  }

  /** `byForce`: a thread is left that no exit can end, so the process has to end itself by SIGKILL. */
  requestStop(reason: string, { byForce = false } = {}): void {
    if (byForce) this.#byForce = true;
    if (this.#stop.signal.aborted) return;
    this.#log.info({ reason }, 'stopping');
    this.#stop.abort(reason);
  }

  /** Resolves when a stop was requested. */
  async untilStopped(): Promise<void> {
    if (this.#stop.signal.aborted) return;
    await new Promise((resolve) => {
      this.#stop.signal.addEventListener('abort', resolve, { once: true });
    });
  }

  /** Closes everything, once. A part that fails to close is logged and does not keep the others open. */
  async close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    await this.#closing;
  }

  async #closeAll(): Promise<void> {
    const deadline = performance.now() + this.#closeWithinMs;
    for (let part = this.#open.pop(); part !== undefined; part = this.#open.pop()) {
      const { name } = part;
      try {
        const leftMs = Math.max(leastPerPartMs, deadline - performance.now());
        const closed = await within(part.close(), leftMs);
        if (closed) this.#log.debug({ part: name }, 'closed');
        else this.#log.error({ part: name }, 'close_abandoned');
      } catch (error) {
        this.#log.warn({ part: name, error }, 'close_failed');
      }
    }
  }
}

/** Whether the promise settled in time; a failure is thrown. */
async function within(promise: Promise<void>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const passed = new Promise<false>((resolve) => {
    timer = setTimeout(resolve, ms, false);
  });
  return Promise.race([promise.then(() => true), passed]).finally(() => clearTimeout(timer));
}

/** Turns SIGTERM and SIGINT into a request to stop. Returns a function that removes the listeners. */
export function stopOnSignals(lifecycle: Lifecycle): () => void {
  const listeners = (['SIGTERM', 'SIGINT'] as const).map((signal) => {
    const listener = (): void => lifecycle.requestStop(signal);
    process.on(signal, listener);
    return () => process.off(signal, listener);
  });
  return () => listeners.forEach((remove) => remove());
}
