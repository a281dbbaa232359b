/**
 * Opening in order and closing in reverse: what a process opened is closed once, whatever ends it, and
 * SIGTERM or SIGINT, also twice or during start-up, lead to one orderly close that ends before a platform
 * would kill the process. Imports nothing at run time, so that an entry can listen at once.
 */
import type { Logger } from '../log.ts';

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
  #exitCode = 0;

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

  /** Of a process that ends by this stop: 0, unless its reason is a failure. */
  get exitCode(): number {
    return this.#exitCode;
  }

  /** Registers what has to be closed; the last one registered closes first. */
  opened(name: string, close: () => Promise<void>): void {
    this.#open.push({ name, close });
  }

  /**
   * The first reason counts, with its exit code. `byForce`: a thread is left that no exit can end, so the
   * process has to end itself by SIGKILL.
   */
  requestStop(reason: string, { byForce = false, exitCode = 0 } = {}): void {
    if (byForce) this.#byForce = true;
    if (this.#stop.signal.aborted) return;
    this.#exitCode = exitCode;
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

const signals = ['SIGTERM', 'SIGINT'] as const;

const leave = (): void => process.exit(0);

/** For the time in which nothing is begun: SIGTERM and SIGINT end the process with exit code 0. */
export function leaveOnSignals(): void {
  for (const signal of signals) process.on(signal, leave);
}

/**
 * Turns SIGTERM and SIGINT into a request to stop, in place of `leaveOnSignals`. Returns a function that
 * removes the listeners.
 */
export function stopOnSignals(lifecycle: Lifecycle): () => void {
  const listeners = signals.map((signal) => {
    const listener = (): void => lifecycle.requestStop(signal);
    process.on(signal, listener);
    // After the new one is there: without any listener a signal ends the process by itself.
    process.off(signal, leave);
    return () => process.off(signal, listener);
  });
  return () => listeners.forEach((remove) => remove());
}
