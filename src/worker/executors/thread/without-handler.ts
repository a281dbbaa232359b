/** The end of an attempt that its thread has no handler for. */
import type { AttemptEnd, BegunAttempt } from '../../../jobs/attempts.ts';

/** The handlers module changed while the worker runs. Another worker, or this one after a restart, may have the type. */
export function withoutHandler({ jobType }: BegunAttempt): AttemptEnd {
  return {
    toState: 'pending',
    countsAttempt: false,
    afterMs: 30_000,
    detail: {
      reason: `the handlers of this worker no longer include ${jobType}; restart the worker`,
    },
  };
}
