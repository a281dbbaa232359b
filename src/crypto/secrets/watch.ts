/**
 * Who has to hear what the keys of this thread open, and what they do not: the code around an attempt listens
 * here, to keep opened values out of what the attempt says and to count failures.
 */
import { AsyncLocalStorage } from 'node:async_hooks';

export interface SecretWatch {
  /** A value was opened for the code that runs now. */
  readonly opened: (value: string) => void;
  /** A token did not open; `column` says where it was meant to stand. */
  readonly failed: (column: string) => void;
}

/** The listener of the code that runs now, through every promise and callback of it. */
export const secretWatch = new AsyncLocalStorage<SecretWatch>();
