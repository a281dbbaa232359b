/** Ends of attempts that failed, and jobs that ended so. */
import type { Sql } from '../../../src/db/connect.ts';
import type { AttemptEnd } from '../../../src/jobs/attempts.ts';
import { finish, runningJob } from '../job-steps.ts';

export const fatal = (code: string, message: string): Partial<AttemptEnd> => ({
  toState: 'dead_letter',
  error: { code, message },
  detail: { reason: 'fatal', code },
});

export const exhausted = (code: string, message: string): Partial<AttemptEnd> => ({
  ...fatal(code, message),
  detail: { reason: 'attempts exhausted', code },
});

/** The next attempt may begin at once. */
export const again = (code: string, message: string): Partial<AttemptEnd> => ({
  toState: 'failed',
  afterMs: 0,
  error: { code, message },
  detail: { reason: code },
});

/** A job whose first attempt ended so. */
export async function endedJob(
  sql: Sql,
  tenantId: string,
  end: Partial<AttemptEnd>,
): Promise<string> {
  const attempt = await runningJob(sql, tenantId);
  const answer = await finish(sql, attempt, end);
  if (answer !== 'applied') throw new Error(`the end of job ${attempt.jobId} is ${answer}`);
  return attempt.jobId;
}
