/**
 * Runs one handler under its deadline. The signal aborts at the deadline or when the worker lets go of the
 * job; a handler that ignores it for longer than the grace is left behind, and whatever it still does is
 * refused by its token.
 */
import { JobTimeoutError } from '../errors.ts';
import type { Handler } from '../handlers/define.ts';

export interface RunOptions {
  readonly handler: Pick<Handler, 'type' | 'timeoutMs'>;
  /** Parses the payload and runs the handler: a schema can hang as well as a handler. */
  readonly work: () => Promise<unknown>;
  readonly controller: AbortController;
  /** How long after the abort the handler may take to return. */
  readonly graceMs: number;
}

/** What the handler returned. Throws what it threw, or the abort's reason (a JobTimeoutError at the deadline). */
export async function runHandler(options: RunOptions): Promise<unknown> {
  const { handler, work, controller, graceMs } = options;
  const { signal } = controller;
  signal.throwIfAborted();
  const deadline = setTimeout(
    () => controller.abort(new JobTimeoutError(handler.type, handler.timeoutMs)),
    handler.timeoutMs,
  );
  let leaveBehind: NodeJS.Timeout | undefined;
  const abandoned = new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => {
      leaveBehind = setTimeout(resolve, graceMs);
    });
  });
  try {
    const returned = Promise.resolve()
      .then(work)
      .then(
        (value: unknown) => ({ value }),
        (error: unknown) => ({ error }),
      );
    const ended = await Promise.race([returned, abandoned]);
    // A deadline is a deadline: what came after it counts no more than what never came.
    if (signal.aborted) throw signal.reason;
    if (ended === undefined || 'error' in ended) throw ended?.error;
    return ended.value;
  } finally {
    clearTimeout(deadline);
    clearTimeout(leaveBehind);
  }
}
