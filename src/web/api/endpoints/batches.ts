/** Batches: an act on each job of a filter, previewed, then executed by the schedulers at a pace. */
import { z } from '@hono/zod-openapi';
import { formatUsd } from '../../../budget/money.ts';
import type { Queryable } from '../../../db/connect.ts';
import { isJobId } from '../../../job-id.ts';
import type { JobFilter } from '../../../jobs/search/filter.ts';
import { resumeBatch, startBatch, stopBatch, undoBatch } from '../../../operations/batches/acts.ts';
import { batchOf, listBatches, unknownBatch } from '../../../operations/batches/batch.ts';
import type { BatchDetails } from '../../../operations/batches/batch.ts';
import { maxMembers, previewBatch } from '../../../operations/batches/preview.ts';
import type { Access } from '../../web-env.ts';
import { PurserError } from '../../../errors.ts';
import { read, write } from '../endpoint.ts';
import type { Endpoint } from '../endpoint.ts';
import { pageOf, placeOf } from '../requests/cursors.ts';
import { assertWithin, scopeOf } from '../requests/limits.ts';
import { batch, batchDetails, batchFilter, batchId, pace, preview } from '../schemas/batches.ts';
import { pageOfItems, pageQuery, reason } from '../schemas/fields.ts';
import { plainFilterOf } from '../schemas/search.ts';

/** Whether all that a filter can take is within the limits of a token. */
function isWithin(access: Access, { tenantId, jobType }: JobFilter): boolean {
  const { tenantIds, jobTypes } = scopeOf(access);
  const isOfTenants = tenantIds === undefined || tenantIds.includes(tenantId ?? '');
  return isOfTenants && (jobTypes === undefined || jobTypes.includes(jobType ?? ''));
}

/** Throws `unknown_batch` (404), also for a batch outside of the limits. */
async function ownBatch(sql: Queryable, access: Access, id: string): Promise<BatchDetails> {
  const found = await batchOf(sql, id);
  if (!isWithin(access, found.filter)) throw unknownBatch(id);
  return found;
}

const ofBatch = {
  tag: 'batches',
  method: 'post',
  role: 'operator',
  limitedTokens: 'own',
  key: 'optional',
  params: z.object({ batchId }),
  answer: batch,
} as const;

export const batchEndpoints: readonly Endpoint[] = [
  write({
    method: 'post',
    path: '/batches',
    operationId: 'previewBatch',
    tag: 'batches',
    summary: 'Preview an act on every job of a filter; nothing is done before it is started',
    description:
      'Its jobs are those of this moment, 100,000 at most. A preview that is not started within an hour is removed. A ' +
      'limited token names the tenant, the type, or both, that it is limited to.',
    role: 'operator',
    limitedTokens: 'own',
    key: 'optional',
    status: 201,
    body: z.strictObject({
      act: z.enum(['replay', 'discard', 'cancel']),
      filter: batchFilter,
      limit: z
        .int()
        .min(1)
        .max(maxMembers)
        .optional()
        .openapi({ description: 'At most so many of these jobs, the oldest ones', example: 10 }),
      reason: reason.optional(),
    }),
    answer: preview,
    act: ({ access, operator, body: { act, filter: given, limit, reason } }) => {
      const { state, ...search } = given;
      const filter = { ...plainFilterOf(search), state };
      assertWithin(access, filter);
      if (!isWithin(access, filter)) {
        throw new PurserError(
          'forbidden',
          'the filter of a limited token names the tenant, the type, or both, that it is limited to',
          { status: 403 },
        );
      }
      return async (tx) => {
        const found = await previewBatch(tx, operator, { act, filter, limit, reason });
        const { worstCaseNanoUsd, ...shown } = found;
        return { ...shown, worstCaseUsd: formatUsd(worstCaseNanoUsd) };
      };
    },
  }),
  read({
    path: '/batches',
    operationId: 'listBatches',
    tag: 'batches',
    summary: 'List batches, previews among them, newest first',
    role: 'viewer',
    limitedTokens: 'refused',
    query: z.strictObject(pageQuery),
    answer: pageOfItems(batch),
    run: async ({ sql, query: { limit, cursor } }) => {
      const beforeId = placeOf('batches', cursor, isJobId);
      const rows = await listBatches(sql, { beforeId, limit: limit + 1 });
      return pageOf('batches', rows, limit, (row) => row.batchId);
    },
  }),
  read({
    path: '/batches/{batchId}',
    operationId: 'getBatch',
    tag: 'batches',
    summary: 'A batch, how far it is, and why members were skipped',
    role: 'viewer',
    limitedTokens: 'own',
    params: z.object({ batchId }),
    answer: batchDetails,
    run: ({ sql, access, params }) => ownBatch(sql, access, params.batchId),
  }),
  write({
    ...ofBatch,
    path: '/batches/{batchId}/start',
    operationId: 'startBatch',
    summary: 'Start a preview',
    body: z.strictObject({ perSecond: pace, reason }),
    act: async ({ sql, access, operator, params: { batchId }, body }) => {
      await ownBatch(sql, access, batchId);
      return (tx) => startBatch(tx, operator, { batchId, ...body });
    },
  }),
  write({
    ...ofBatch,
    path: '/batches/{batchId}/stop',
    operationId: 'stopBatch',
    summary: 'Stop a batch; resume goes on with it',
    body: z.strictObject({ reason }),
    act: async ({ sql, access, operator, params: { batchId }, body }) => {
      await ownBatch(sql, access, batchId);
      return (tx) => stopBatch(tx, operator, { batchId, ...body });
    },
  }),
  write({
    ...ofBatch,
    path: '/batches/{batchId}/resume',
    operationId: 'resumeBatch',
    summary: 'Go on with a stopped batch, at another pace if one is given',
    body: z.strictObject({ perSecond: pace.optional(), reason }),
    act: async ({ sql, access, operator, params: { batchId }, body }) => {
      await ownBatch(sql, access, batchId);
      return (tx) => resumeBatch(tx, operator, { batchId, ...body });
    },
  }),
  write({
    ...ofBatch,
    path: '/batches/{batchId}/undo',
    operationId: 'undoBatch',
    summary: 'Take back what has not begun',
    description: 'The schedulers do it: the state is `undoing` until it is `undone`.',
    body: z.strictObject({ reason }),
    act: async ({ sql, access, operator, params: { batchId }, body }) => {
      await ownBatch(sql, access, batchId);
      return (tx) => undoBatch(tx, operator, { batchId, ...body });
    },
  }),
];
