/** What the failure of a batch's statement means for its requests. */
import { isStoreUnavailable } from '../../db/store-errors.ts';
import { codeOf, PurserError } from '../../errors.ts';

/**
 * unavailable: the database cannot answer now; the same batch may succeed later. locked: another transaction holds a
 * row of the batch. refused: a request of the batch cannot be executed.
 */
export type BatchFailure = 'unavailable' | 'locked' | 'refused';

const lockNotAvailable = '55P03';
/** Read-only after a failover, an I/O error, a login that is refused for now. */
const unavailableStates = /^(25006|58\w{3}|28\w{3})$/;

export function failureOf(error: unknown): BatchFailure {
  const code = codeOf(error);
  // This process closed the pool: it does not open again.
  if (code === 'CONNECTION_ENDED') return 'refused';
  if (code === lockNotAvailable) return 'locked';
  const isUnavailable =
    code === 'no_answer' || isStoreUnavailable(error) || unavailableStates.test(code);
  return isUnavailable ? 'unavailable' : 'refused';
}

/** Rejects with `no_answer` after `timeoutMs`: a connection can be lost without an error. */
export async function answeredWithin<T>(answer: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new PurserError('no_answer', `the database gave no answer within ${timeoutMs} ms`));
    }, timeoutMs);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
