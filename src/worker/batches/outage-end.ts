/**
 * The end of an attempt that could not be finished at first because the database was unavailable. A failure that the
 * outage can explain (the handler waited for the database until its timeout, or lost its connection) is not counted.
 */
import { isStoreUnavailable } from '../../db/store-errors.ts';
import type { AttemptEnd } from '../../jobs/attempts.ts';
import { handedBack } from '../classify.ts';

const retryAfterMs = 2_000;

export function endDuringOutage(end: AttemptEnd): AttemptEnd {
  const { error, countsAttempt } = end;
  if (!countsAttempt || error === undefined) return end;
  if (error.code !== 'job_timeout' && !isStoreUnavailable(error)) return end;
  return handedBack(`the database was unavailable (${error.code})`, retryAfterMs);
}
