/** What holds a job until a time: its own, a backoff, a snooze, or an upload that is not complete. */
import { purserCommand, quoted } from '../shell-text.ts';
import { lengthText } from './cause.ts';
import type { Cause } from './cause.ts';
import type { JobPlace } from './place.ts';

/** A dispatch takes it: one that has become due still stands with those that wait for their time. */
export const isDue = ({ stands, dueInMs }: JobPlace): boolean => stands !== 'later' || dueInMs <= 0;

export function delayCauses(job: JobPlace): Cause[] {
  return [...uploadCauses(job), ...(isDue(job) ? [] : [delayOf(job)])];
}

function uploadCauses({ uploadId, uploadSince, stands }: JobPlace): Cause[] {
  if (uploadId === null || stands === 'running') return [];
  return [
    {
      code: 'upload',
      says: `its upload ${uploadId}, begun ${uploadSince?.toISOString() ?? ''}, is not complete; until then each attempt puts it off by 2 s`,
      lift: null,
      facts: { uploadId, since: uploadSince?.toISOString() ?? null },
    },
  ];
}

function delayOf(job: JobPlace): Cause {
  const { scheduledFor, dueInMs, attempt, maxAttempts, errorCode, failed, tenantId } = job;
  const at = scheduledFor.toISOString();
  const due = `${at} (in ${lengthText(dueInMs)})`;
  const reason = typeof job.detail?.['reason'] === 'string' ? job.detail['reason'] : undefined;
  if (failed) {
    return {
      code: 'backoff',
      says: `attempt ${attempt} of ${maxAttempts} failed (${errorCode ?? 'error'}); the next one waits until ${due}`,
      lift: null,
      facts: { dueAt: at, attempt, maxAttempts, errorCode },
    };
  }
  if (job.detail?.['code'] === 'llm_fair_use') {
    return {
      code: 'fair_use',
      says: `${reason ?? 'the tenant has its calls'}; it runs again at ${due}`,
      lift: purserCommand(
        'tenants',
        'set-limits',
        quoted(tenantId),
        '--calls-per-minute',
        'N',
        '--calls-in-flight',
        'N',
      ),
      facts: { dueAt: at, reason: reason ?? null },
    };
  }
  if (reason !== undefined) {
    return {
      code: 'snoozed',
      says: `${reason}; it runs again at ${due}`,
      lift: null,
      facts: { dueAt: at, reason },
    };
  }
  return {
    code: 'later',
    says: `it is scheduled for ${due}`,
    lift: null,
    facts: { dueAt: at },
  };
}
