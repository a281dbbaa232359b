/** Dead letters: lists, groups by cause, one, replay and discard. */
import { z } from '@hono/zod-openapi';
import { listDeadLetters } from '../../../jobs/dead-letters.ts';
import { listFailureGroups } from '../../../jobs/failures/groups.ts';
import { editPayload } from '../../../operations/batches/edit-payload.ts';
import { discardAs, replayAs } from '../../../operations/dead-letters.ts';
import { findDeadLetter } from '../../../operations/failures/dead-letter.ts';
import { read, write } from '../endpoint.ts';
import type { Endpoint } from '../endpoint.ts';
import { pageOf, placeOf } from '../requests/cursors.ts';
import { assertOwnJob } from '../requests/limits.ts';
import { jobId, limit, pageOfItems, pageQuery, reason } from '../schemas/fields.ts';
import { deadLetter, deadLetterSummary, failureGroup } from '../schemas/jobs.ts';
import { filterOf, searchQuery } from '../schemas/search.ts';
import { jobShown } from './jobs.ts';

const ofFleet = { tag: 'dead letters', limitedTokens: 'own' } as const;

/** A time that Postgres reads; the list checks the rest. */
const isPlace = (place: string): boolean =>
  !Number.isNaN(Date.parse(place.slice(0, place.indexOf('_'))));

export const deadLetterEndpoints: readonly Endpoint[] = [
  read({
    ...ofFleet,
    path: '/dead-letters',
    operationId: 'listDeadLetters',
    summary: 'List dead letters that were neither replayed nor discarded, newest first',
    role: 'viewer',
    query: z.strictObject({ ...searchQuery, ...pageQuery }),
    answer: pageOfItems(deadLetterSummary),
    run: async ({ sql, access, query: { limit, cursor, ...search } }) => {
      const before = placeOf('dead_letters', cursor, isPlace);
      const filter = await filterOf(sql, access, search);
      const rows = await listDeadLetters(sql, { ...filter, before, limit: limit + 1 });
      return pageOf('dead_letters', rows, limit, (row) => row.cursor);
    },
  }),
  read({
    ...ofFleet,
    path: '/dead-letters/groups',
    operationId: 'listFailureGroups',
    summary: 'Dead letters by cause, the largest group first',
    description:
      'At most 200,000 failures are looked at; `cutAt` says so. With over=attempts every failed attempt, of the last 24 ' +
      'hours unless `since` says otherwise.',
    role: 'viewer',
    query: z.strictObject({
      ...searchQuery,
      over: z.enum(['dead_letters', 'attempts']).default('dead_letters'),
      limit,
    }),
    answer: z.object({
      groups: z.array(failureGroup),
      total: z.int(),
      cutAt: z.int().optional(),
    }),
    run: async ({ sql, access, query: { limit, over, ...search } }) =>
      listFailureGroups(sql, over, { ...(await filterOf(sql, access, search)), limit }),
  }),
  read({
    ...ofFleet,
    path: '/dead-letters/{jobId}',
    operationId: 'getDeadLetter',
    summary: 'One dead letter with its attempts, how many are alike, and what to do',
    role: 'viewer',
    params: z.object({ jobId }),
    answer: deadLetter,
    run: async ({ sql, access, params: { jobId } }) => {
      await assertOwnJob(sql, access, jobId);
      const found = await findDeadLetter(sql, jobId);
      return { ...found, job: await jobShown(sql, access, jobId) };
    },
  }),
  write({
    ...ofFleet,
    method: 'post',
    path: '/dead-letters/{jobId}/replay',
    operationId: 'replayDeadLetter',
    summary: 'Run a dead letter again as a new job, once',
    description: '`created` is false where it was replayed before, by the job that is named.',
    role: 'operator',
    key: 'optional',
    params: z.object({ jobId }),
    body: z.strictObject({ reason: reason.optional() }),
    answer: z.object({ jobId, created: z.boolean() }),
    act: async ({ sql, access, operator, params: { jobId }, body: { reason } }) => {
      await assertOwnJob(sql, access, jobId);
      return (tx) => replayAs(tx, operator, { jobId, reason });
    },
  }),
  write({
    ...ofFleet,
    method: 'post',
    path: '/dead-letters/{jobId}/edit',
    operationId: 'replayEdited',
    summary: 'Run a dead letter again as a new job with another payload, once',
    description:
      'The whole payload, which the schema of its handler checks; a secret field that is sent as [secret] keeps its value. ' +
      'The record names the fields of the first level that were changed, no values.',
    role: 'operator',
    key: 'optional',
    params: z.object({ jobId }),
    body: z.strictObject({ payload: z.record(z.string(), z.unknown()), reason }),
    answer: z.object({ jobId, changedFields: z.array(z.string()) }),
    act: async ({ sql, access, operator, services, params: { jobId }, body }) => {
      await assertOwnJob(sql, access, jobId);
      return (tx) => {
        const schemaOf = services.payloads.schemaOf(tx);
        return editPayload(tx, operator, { jobId, schemaOf, ...body });
      };
    },
  }),
  write({
    ...ofFleet,
    method: 'post',
    path: '/dead-letters/{jobId}/discard',
    operationId: 'discardDeadLetter',
    summary: 'Remove a dead letter from the list, with a reason',
    role: 'operator',
    key: 'optional',
    params: z.object({ jobId }),
    body: z.strictObject({ reason }),
    answer: z.object({ jobId, discarded: z.literal(true) }),
    act: async ({ sql, access, operator, params: { jobId }, body: { reason } }) => {
      await assertOwnJob(sql, access, jobId);
      return async (tx) => {
        await discardAs(tx, operator, { jobId, reason });
        return { jobId, discarded: true };
      };
    },
  }),
];
