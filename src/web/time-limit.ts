/** A time limit for requests to a store that may not answer, and one such request at a time. */
import { PurserError } from '../errors.ts';

/** Rejects with `no_answer` after `ms`; the request itself continues in the background. */
export async function within<T>(ms: number, request: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new PurserError('no_answer', `no answer within ${ms} ms`, { status: 503 })),
      ms,
    );
  });
  try {
    return await Promise.race([request, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Calls made while a request is open, or within `keepMs` after it ended, share its result, so that probes
 * and scrapes cannot pile up on a store that does not answer.
 */
export function shared<T>(keepMs: number, ask: () => Promise<T>): () => Promise<T> {
  let open: Promise<T> | undefined;
  let answeredAtMs = 0;
  return () => {
    if (open !== undefined && (answeredAtMs === 0 || Date.now() - answeredAtMs < keepMs)) {
      return open;
    }
    answeredAtMs = 0;
    open = ask().finally(() => {
      answeredAtMs = Date.now();
    });
    return open;
  };
}
