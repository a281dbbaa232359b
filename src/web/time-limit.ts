/** An upper bound on waiting for a store that may hang, and one question at a time to it. */
import { PurserError } from '../errors.ts';

/** Rejects with `no_answer` after `ms`; what was asked goes on and is not waited for. */
export async function within<T>(ms: number, asked: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new PurserError('no_answer', `no answer within ${ms} ms`, { status: 503 })),
      ms,
    );
  });
  try {
    return await Promise.race([asked, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Shares one question among all who ask while it is open and for `keepMs` after its answer, so that
 * probes and scrapes cannot pile up on a store that hangs.
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
