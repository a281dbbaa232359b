/**
 * Closes what a process opened, once, in reverse order, however the process ends. SIGTERM or SIGINT, also repeated or
 * during start-up, lead to one orderly close that ends before a platform kills the process. This file imports nothing
 * at run time, so that the CLI can handle signals before it loads anything else.
 */
import type { Logger } from '../log.ts';

interface Closable {
  readonly name: string;
  readonly close: () => Promise<void>;
}

/** Platforms kill 30 s after SIGTERM; a part that waits for an unavailable store is abandoned before. */
const closeWithinMs = 27_000;
const minPerPartMs = 500;

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

  /** Aborted when the process is asked to stop. */
  get stopSignal(): AbortSignal {
    return this.#stop.signal;
  }

  get byForce(): boolean {
    return this.#byForce;
  }

  /** Exit code of the process: 0 unless it stops because of a failure. */
  get exitCode(): number {
    return this.#exitCode;
  }

  /** Registers a part to close; the last one registered is closed first. */
  opened(name: string, close: () => Promise<void>): void {
    this.#open.push({ name, close });
  }

  /**
   * The first reason and its exit code are kept. `byForce`: a thread is left that does not end on exit, so the process
   * has to kill itself with SIGKILL.
   */
  requestStop(reason: string, { byForce = false, exitCode = 0 } = {}): void {
    if (byForce) this.#byForce = true;
    if (this.#stop.signal.aborted) return;
    this.#exitCode = exitCode;
    this.#log.info({ reason }, 'stopping');
    this.#stop.abort(reason);
  }

  /** Resolves when a stop is requested. */
  async untilStopped(): Promise<void> {
    if (this.#stop.signal.aborted) return;
    await new Promise((resolve) => {
      this.#stop.signal.addEventListener('abort', resolve, { once: true });
    });
  }

  /** Closes all parts, once. A part that fails to close is logged, and the others are closed all the same. */
  async close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    await this.#closing;
  }

  async #closeAll(): Promise<void> {
    const deadline = performance.now() + this.#closeWithinMs;
    for (let part = this.#open.pop(); part !== undefined; part = this.#open.pop()) {
      const { name } = part;
      try {
        const leftMs = Math.max(minPerPartMs, deadline - performance.now());
        const closed = await within(part.close(), leftMs);
        if (closed) this.#log.debug({ part: name }, 'closed');
        else this.#log.error({ part: name }, 'close_abandoned');
      } catch (error) {
        this.#log.warn({ part: name, error }, 'close_failed');
      }
    }
  }
}

/** Whether the promise resolved in time; throws if it is rejected. */
async function within(promise: Promise<void>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const passed = new Promise<false>((resolve) => {
    timer = setTimeout(resolve, ms, false);
  });
  return Promise.race([promise.then(() => true), passed]).finally(() => clearTimeout(timer));
}

const signals = ['SIGTERM', 'SIGINT'] as const;

const leave = (): void => process.exit(0);

/** Before anything is opened: SIGTERM and SIGINT end the process with exit code 0. */
export function leaveOnSignals(): void {
  for (const signal of signals) process.on(signal, leave);
}

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/**
 * Resolves when the listeners of signals that arrived before the call have run. The event loop looks for signals once
 * in a turn, perhaps before the call in this one, so it takes two.
 */
export async function signalsHandled(): Promise<void> {
  await nextTurn();
  await nextTurn();
}

/**
 * Turns SIGTERM and SIGINT into a request to stop, in place of `leaveOnSignals`. Returns a function that
 * removes the listeners.
 */
export function stopOnSignals(lifecycle: Lifecycle): () => void {
  const listeners = signals.map((signal) => {
    const listener = (): void => lifecycle.requestStop(signal);
    process.on(signal, listener);
    // Only after the new listener was added: without a listener, a signal kills the process.
    process.off(signal, leave);
    return () => process.off(signal, listener);
  });
  return () => listeners.forEach((remove) => remove());
}
