/** Logs the end of an attempt (`job_attempt_ended`) and counts it in the metrics. */
import type { AttemptEnd, BegunAttempt, FinishResult } from '../jobs/attempts.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';

export function logAttemptEnd(
  options: { readonly log: Logger; readonly metrics: Metrics },
  attempt: BegunAttempt,
  end: AttemptEnd,
  finish: FinishResult,
  seconds: number,
): void {
  const { metrics, log } = options;
  const { jobId, tenantId, jobType } = attempt;
  const { error, toState } = end;
  metrics.jobSeconds.observe({ job_type: jobType }, seconds);
  if (finish === 'stale') metrics.staleTokens.inc();
  else metrics.attempts.inc({ job_type: jobType, end: toState });
  if (error?.code === 'job_timeout') metrics.jobTimeouts.inc({ job_type: jobType });
  const level = toState === 'dead_letter' ? 'error' : error === undefined ? 'info' : 'warn';
  if (!log.isLevelEnabled(level)) return;
  log[level](
    {
      jobId,
      tenantId,
      jobType,
      attempt: attempt.attempt,
      state: toState,
      finish,
      seconds: Number(seconds.toFixed(3)),
      ...(error === undefined ? {} : { code: error.code, reason: error.message }),
    },
    'job_attempt_ended',
  );
}
