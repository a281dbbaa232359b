/** Jobs: the list, one with its attempts and calls, and cancelling. */
import { z } from '@hono/zod-openapi';
import type { Sql } from '../../../db/connect.ts';
import { PurserError } from '../../../errors.ts';
import { isJobId } from '../../../job-id.ts';
import { listAttempts } from '../../../jobs/failures/attempts.ts';
import { findJob } from '../../../jobs/inspect.ts';
import { listJobs } from '../../../jobs/search/list.ts';
import { cancelAs } from '../../../operations/cancel.ts';
import { listCallsOfJob } from '../../../operations/lists/calls.ts';
import { hasRole } from '../../../operations/operators/roles.ts';
import type { Access } from '../../web-env.ts';
import { read, write } from '../endpoint.ts';
import type { Endpoint } from '../endpoint.ts';
import { pageOf, placeOf } from '../requests/cursors.ts';
import { assertOwnJob } from '../requests/limits.ts';
import { jobId, pageOfItems, pageQuery, reason, text } from '../schemas/fields.ts';
import { job, jobSummary, state } from '../schemas/jobs.ts';
import { filterOf, searchQuery } from '../schemas/search.ts';

const maxCalls = 500;

/** With its attempts and calls; with payload and result from the role operator on. Throws `unknown_job`. */
export async function jobShown(sql: Sql, access: Access, id: string): Promise<object> {
  const found = await findJob(sql, id, 0);
  if (found === undefined) {
    throw new PurserError('unknown_job', `there is no job ${id}`, { status: 404 });
  }
  const { payload, result, ...shown } = found;
  return {
    ...shown,
    attempts: await listAttempts(sql, id),
    llmCalls: await listCallsOfJob(sql, id, maxCalls),
    ...(hasRole(access.role, 'operator') ? { payload, result } : {}),
  };
}

export const jobEndpoints: readonly Endpoint[] = [
  read({
    path: '/jobs',
    operationId: 'listJobs',
    tag: 'jobs',
    summary: 'List jobs, newest first',
    role: 'viewer',
    limitedTokens: 'own',
    query: z.strictObject({
      ...searchQuery,
      state: state.optional(),
      id: jobId.optional(),
      dedupKey: text(500).optional(),
      replaysOf: jobId.optional().openapi({ description: 'It, what it replays, what replays it' }),
      ...pageQuery,
    }),
    answer: pageOfItems(jobSummary),
    run: async ({ sql, access, query }) => {
      const { state, id, dedupKey, replaysOf, limit, cursor, ...search } = query;
      const beforeId = placeOf('jobs', cursor, isJobId);
      const filter = await filterOf(sql, access, search);
      const rows = await listJobs(sql, {
        ...filter,
        state,
        jobId: id,
        dedupKey,
        replaysOf,
        beforeId,
        limit: limit + 1,
      });
      return pageOf('jobs', rows, limit, (row) => row.jobId);
    },
  }),
  read({
    path: '/jobs/{jobId}',
    operationId: 'getJob',
    tag: 'jobs',
    summary: 'One job with its attempts, errors and LLM calls',
    role: 'viewer',
    limitedTokens: 'own',
    params: z.object({ jobId }),
    answer: job,
    run: async ({ sql, access, params }) => {
      await assertOwnJob(sql, access, params.jobId);
      return jobShown(sql, access, params.jobId);
    },
  }),
  write({
    method: 'post',
    path: '/jobs/{jobId}/cancel',
    operationId: 'cancelJob',
    tag: 'jobs',
    summary: 'Cancel a job',
    description:
      'A waiting job is cancelled at once. Of one that runs the request is stored (`requested`), and its worker stops it.',
    role: 'operator',
    limitedTokens: 'own',
    key: 'optional',
    params: z.object({ jobId }),
    body: z.strictObject({ reason }),
    answer: z.object({
      jobId,
      outcome: z.enum(['cancelled', 'requested', 'ended']),
      state,
    }),
    act: async ({ sql, access, operator, params: { jobId }, body: { reason } }) => {
      await assertOwnJob(sql, access, jobId);
      return async (tx) => ({ jobId, ...(await cancelAs(tx, operator, { jobId, reason })) });
    },
  }),
];
