/** Pauses of dispatch, and stops, which hand running jobs back as well. */
import { z } from '@hono/zod-openapi';
import { listPauses, untilClaimsEnd } from '../../../jobs/pauses.ts';
import type { PauseTarget } from '../../../jobs/pauses.ts';
import { resumeAs, storePause } from '../../../operations/pauses.ts';
import { returnQueued, storeStop } from '../../../operations/stop/stop.ts';
import { PurserError } from '../../../errors.ts';
import type { Access } from '../../web-env.ts';
import { read, write } from '../endpoint.ts';
import type { Endpoint } from '../endpoint.ts';
import { scopeOf } from '../requests/limits.ts';
import { at, jobId, reason, text } from '../schemas/fields.ts';

const scope = z.enum(['all', 'job_type', 'tenant']);

const pause = z
  .object({
    scope,
    name: z.string(),
    reason: z.string(),
    by: z.string(),
    at,
    stops: z.boolean().openapi({ description: 'Running jobs are handed back, too' }),
  })
  .openapi('Pause');

const target = {
  scope,
  name: text(200).optional().openapi({ description: 'The job type or the tenant; none for all' }),
};

function targetOf({
  scope,
  name,
}: {
  readonly scope: PauseTarget['scope'];
  readonly name?: string | undefined;
}): PauseTarget {
  if ((scope === 'all') !== (name === undefined)) {
    const detail = scope === 'all' ? 'all takes no name' : `${scope} needs a name`;
    throw new PurserError('invalid_request', detail, { status: 400 });
  }
  return { scope, name: name ?? '' };
}

/** A target is within the limits of a token where all jobs of it are. */
function isWithin(access: Access, { scope, name }: PauseTarget): boolean {
  const { tenantIds, jobTypes } = scopeOf(access);
  if (scope === 'tenant') return jobTypes === undefined && tenantIds?.includes(name) !== false;
  if (scope === 'job_type') return tenantIds === undefined && jobTypes?.includes(name) !== false;
  return tenantIds === undefined && jobTypes === undefined;
}

function assertOwn(access: Access, target: PauseTarget): PauseTarget {
  if (isWithin(access, target)) return target;
  throw new PurserError('forbidden', 'jobs of this are outside of the limits of this token', {
    status: 403,
  });
}

const ofPauses = { tag: 'pauses', limitedTokens: 'own' } as const;

export const pauseEndpoints: readonly Endpoint[] = [
  read({
    ...ofPauses,
    path: '/pauses',
    operationId: 'listPauses',
    summary: 'List pauses and stops, oldest first',
    role: 'viewer',
    answer: z.object({ items: z.array(pause) }),
    run: async ({ sql, access }) => ({
      items: (await listPauses(sql)).filter((each) => isWithin(access, each)),
    }),
  }),
  write({
    ...ofPauses,
    method: 'post',
    path: '/pauses',
    operationId: 'pause',
    summary: 'Stop dispatching the jobs of a type, of a tenant, or all jobs',
    description:
      'Jobs in a queue and running jobs go on. A pause of the same target is replaced. A dispatch that is open at this ' +
      'moment may still queue the jobs that it holds.',
    role: 'operator',
    key: 'optional',
    body: z.strictObject({ ...target, reason }),
    answer: z.object({ replaced: pause.nullable() }),
    act: ({ access, operator, body: { reason, ...given } }) => {
      const target = assertOwn(access, targetOf(given));
      return async (tx) => ({
        replaced: (await storePause(tx, operator, { ...target, reason })) ?? null,
      });
    },
    after: async ({ sql }) => {
      await untilClaimsEnd(sql);
    },
  }),
  write({
    ...ofPauses,
    method: 'delete',
    path: '/pauses',
    operationId: 'resume',
    summary: 'Remove a pause or a stop',
    description: '`ended` is null where there was none.',
    role: 'operator',
    key: 'optional',
    query: z.strictObject(target),
    body: z.strictObject({ reason: reason.optional() }),
    answer: z.object({ ended: pause.nullable() }),
    act: ({ access, operator, query, body: { reason } }) => {
      const target = assertOwn(access, targetOf(query));
      return async (tx) => ({
        ended: (await resumeAs(tx, operator, { ...target, reason })) ?? null,
      });
    },
  }),
  write({
    ...ofPauses,
    method: 'post',
    path: '/stop',
    operationId: 'stop',
    summary: 'Stop the jobs of a type, of a tenant, or all jobs at once',
    description:
      'A pause under which queued and running jobs go back to waiting, no attempt counted. DELETE /pauses undoes it.',
    role: 'operator',
    key: 'optional',
    status: 202,
    body: z.strictObject({ ...target, reason }),
    answer: z.object({
      replaced: pause.nullable(),
      runningIds: z.array(jobId).openapi({ description: 'Their workers hand them back' }),
      queued: z.int().openapi({ description: 'Jobs that go back to waiting' }),
    }),
    act: ({ access, operator, body: { reason, ...given } }) => {
      const target = assertOwn(access, targetOf(given));
      return async (tx) => {
        const { replaced, ...stopped } = await storeStop(tx, operator, { target, reason });
        return { ...stopped, replaced: replaced ?? null };
      };
    },
    after: async ({ sql }) => {
      await returnQueued(sql);
    },
  }),
];
