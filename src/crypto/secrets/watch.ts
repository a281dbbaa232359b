/**
 * Reports which values the keys of this thread decrypt, and which they fail to decrypt. The code around an attempt
 * listens, to redact decrypted values in the attempt's output and to count failures.
 */
import { AsyncLocalStorage } from 'node:async_hooks';

export interface SecretWatch {
  /** A value was decrypted by the current code. */
  readonly opened: (value: string) => void;
  /** A token could not be decrypted; `column` is its place. */
  readonly failed: (column: string) => void;
}

/** The listener of the current asynchronous context. */
export const secretWatch = new AsyncLocalStorage<SecretWatch>();
