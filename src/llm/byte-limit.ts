/** Bounds the bytes of concurrent work: what does not fit waits, in the order of arrival. */

export interface ByteLimit {
  /**
   * Runs `work` once `bytes` fit. Work larger than the whole limit runs alone. Rejects with the signal's reason when
   * it aborts while waiting.
   */
  run<T>(bytes: number, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T>;
}

interface Waiter {
  readonly bytes: number;
  readonly start: () => void;
}

export function createByteLimit(maxBytes: number): ByteLimit {
  const waiters: Waiter[] = [];
  let usedBytes = 0;
  const fits = (bytes: number) => usedBytes === 0 || usedBytes + bytes <= maxBytes;
  const startNext = (): void => {
    for (let next = waiters[0]; next !== undefined && fits(next.bytes); next = waiters[0]) {
      waiters.shift();
      usedBytes += next.bytes;
      next.start();
    }
  };
  const acquire = (bytes: number, signal: AbortSignal | undefined) =>
    new Promise<void>((resolve, reject) => {
      const waiter: Waiter = {
        bytes,
        start: () => {
          signal?.removeEventListener('abort', abort);
          resolve();
        },
      };
      const abort = (): void => {
        waiters.splice(waiters.indexOf(waiter), 1);
        reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted'));
        startNext();
      };
      signal?.throwIfAborted();
      signal?.addEventListener('abort', abort, { once: true });
      waiters.push(waiter);
      startNext();
    });
  return {
    run: async (bytes, signal, work) => {
      await acquire(bytes, signal);
      try {
        return await work();
      } finally {
        usedBytes -= bytes;
        startNext();
      }
    },
  };
}
