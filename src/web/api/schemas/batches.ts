/** Batches and their previews, as requests and answers have them. */
import { z } from '@hono/zod-openapi';
import { maxPerSecond } from '../../../operations/batches/checks.ts';
import { amount, at, facts, jobId, jobType, tenantId } from './fields.ts';
import { state } from './jobs.ts';
import { searchQuery } from './search.ts';

export const batchId = jobId.openapi({ description: 'The id of a batch', example: '12' });

export const pace = z
  .int()
  .min(1)
  .max(maxPerSecond)
  .openapi({ description: 'Jobs per second, of all schedulers together', example: 50 });

const { attempt: _ofQuery, ...search } = searchQuery;

/** The fields of a list's query; `attempt` is a number here. */
export const batchFilter = z.strictObject({
  ...search,
  attempt: z.int().min(0).max(1_000_000).optional(),
  state: state.optional(),
});

const act = z.enum(['replay', 'discard', 'cancel']);

const blocked = {
  budget: z.int(),
  cap: z.int(),
  pause: z.int(),
};

export const preview = z
  .object({
    batchId,
    act,
    jobs: z.int(),
    isCut: z.boolean().openapi({ description: 'The filter takes more jobs than the limit' }),
    expiresAt: at,
    tenants: z.int(),
    topTenants: z.array(z.object({ tenantId, jobs: z.int() })),
    oldestAt: at.nullable(),
    worstCaseUsd: amount.openapi({ description: 'What one attempt of each can cost' }),
    withoutHold: z.int().openapi({ description: 'Jobs of which no hold is known' }),
    blocked: z.object(blocked),
    blockedGroups: z.array(z.object({ tenantId, jobType, jobs: z.int(), ...blocked })),
  })
  .openapi('BatchPreview');

export const batch = z
  .object({
    batchId,
    act,
    filter: facts,
    state: z.enum(['previewed', 'running', 'stopped', 'completed', 'undoing', 'undone']),
    perSecond: z.int().nullable(),
    members: z.int(),
    isCut: z.boolean(),
    waiting: z.int(),
    done: z.int(),
    skipped: z.int(),
    undone: z.int(),
    by: z.string(),
    reason: z.string().nullable(),
    createdAt: at,
    expiresAt: at,
    startedAt: at.nullable(),
    endedAt: at.nullable(),
  })
  .openapi('Batch');

export const batchDetails = batch
  .extend({ reasons: z.array(z.object({ why: z.string(), members: z.int() })) })
  .openapi('BatchDetails');
