/** Jobs, dead letters and causes, as answers have them. */
import { z } from '@hono/zod-openapi';
import { jobStates } from '../../../jobs/states.ts';
import { causeCodes } from '../../../operations/why/cause.ts';
import { amount, at, facts, jobId, jobType, tenantId } from './fields.ts';

export const state = z.enum(jobStates);

export const jobSummary = z
  .object({
    jobId,
    tenantId,
    jobType,
    group: z.string().nullable(),
    state,
    attempt: z.int(),
    maxAttempts: z.int(),
    priority: z.int(),
    scheduledFor: at,
    createdAt: at,
    finishedAt: at.nullable(),
    errorCode: z.string().nullable(),
  })
  .openapi('JobSummary');

const failure = z
  .object({
    code: z.string().optional(),
    message: z.string().optional(),
    stack: z.string().optional(),
    details: z.unknown().optional(),
  })
  .openapi('JobError');

const attempt = z
  .object({
    attempt: z.int(),
    counted: z.boolean().openapi({ description: 'Whether it counts as one of the attempts' }),
    startedAt: at.nullable(),
    endedAt: at,
    workerId: z.string().nullable(),
    toState: z.string(),
    errorCode: z.string().nullable(),
    fingerprint: z.string().nullable(),
    error: failure.nullable(),
  })
  .openapi('Attempt');

const call = z
  .object({
    reservationId: z.string(),
    attempt: z.int().nullable(),
    provider: z.string(),
    model: z.string(),
    status: z.enum(['RESERVED', 'APPLIED', 'RELEASED', 'UNKNOWN']),
    holdUsd: amount,
    costUsd: amount.nullable().openapi({ description: 'null while it is not settled' }),
    createdAt: at,
    sentAt: at.nullable(),
  })
  .openapi('LlmCall');

export const job = jobSummary
  .extend({
    dedupKey: z.string().nullable(),
    error: failure.nullable(),
    progress: z.object({ done: z.number(), note: z.string().nullish() }).nullable(),
    cancelRequested: z.object({ by: z.string(), reason: z.string() }).nullable(),
    replayOf: jobId.nullable(),
    replayedBy: jobId.nullable(),
    attempts: z.array(attempt),
    llmCalls: z.array(call),
    payload: z.unknown().optional().openapi({ description: 'For the role operator and above' }),
    result: z.unknown().optional().openapi({ description: 'For the role operator and above' }),
  })
  .openapi('Job');

const ended = z.enum(['fatal', 'exhausted', 'expired']);

export const deadLetterSummary = z
  .object({
    jobId,
    tenantId,
    jobType,
    group: z.string().nullable(),
    attempt: z.int(),
    errorCode: z.string().nullable(),
    errorMessage: z.string().nullable(),
    finishedAt: at,
    fingerprint: z.string(),
    endedBy: ended,
  })
  .openapi('DeadLetterSummary');

export const deadLetter = z
  .object({
    job,
    standing: z.enum(['listed', 'replayed', 'discarded']),
    endedBy: ended.nullable(),
    fingerprint: z.string().nullable(),
    alike: z.int().openapi({
      description: 'Listed dead letters with this fingerprint; 10,001 stands for more',
    }),
    chain: z.array(jobSummary).openapi({ description: 'What it replays and what replays it' }),
    advice: z.array(z.string()),
  })
  .openapi('DeadLetter');

export const failureGroup = z
  .object({
    fingerprint: z.string(),
    jobType,
    errorCode: z.string(),
    message: z.string(),
    newestJobId: jobId,
    count: z.int(),
    tenants: z.int(),
    fatal: z.int(),
    exhausted: z.int(),
    expired: z.int(),
    firstSeen: at,
    lastSeen: at,
    lastHour: z.int(),
    hourBefore: z.int(),
    hours: z.array(z.int()),
  })
  .openapi('FailureGroup');

const cause = z
  .object({
    code: z.enum(causeCodes),
    says: z.string().optional().openapi({ description: 'A sentence for people' }),
    lift: z.string().nullish().openapi({ description: 'The command that lifts it' }),
    facts: facts.optional(),
  })
  .openapi('Cause');

export const whyAnswer = z
  .object({
    state: state.optional(),
    causes: z.array(cause).openapi({ description: 'The one to lift first is the first' }),
  })
  .openapi('Why');
