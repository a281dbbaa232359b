/** Why a job, the jobs of a type or tenant, or those of the fleet do not run. */
import { z } from '@hono/zod-openapi';
import type { Cause, CauseCode } from '../../../operations/why/cause.ts';
import { why } from '../../../operations/why/why.ts';
import type { WhyAnswer } from '../../../operations/why/why.ts';
import { PurserError } from '../../../errors.ts';
import type { Access } from '../../web-env.ts';
import { read } from '../endpoint.ts';
import type { Endpoint } from '../endpoint.ts';
import { assertOwnJob, assertWithin, scopeOf } from '../requests/limits.ts';
import { jobId, jobType, tenantId } from '../schemas/fields.ts';
import { whyAnswer } from '../schemas/jobs.ts';

/** Causes whose sentence is about the job and its tenant alone. */
const aboutTheJob: ReadonlySet<CauseCode> = new Set([
  'completed',
  'dead_letter',
  'cancelled',
  'budget',
  'parked_by_handler',
  'waking',
  'upload',
  'backoff',
  'snoozed',
  'later',
  'suspect',
  'nothing_waits',
]);

const withoutNames = ({ code, says }: Cause) => (aboutTheJob.has(code) ? { code, says } : { code });

/** A limited token gets the codes of all causes, and no names of workers, of other types or of other tenants. */
function shownTo(access: Access, { state, causes }: WhyAnswer) {
  if (access.limits === undefined) return { state, causes };
  return { state, causes: causes.map(withoutNames) };
}

export const whyEndpoints: readonly Endpoint[] = [
  read({
    path: '/jobs/{jobId}/why',
    operationId: 'whyJob',
    tag: 'why',
    summary: 'Why a job does not run, or how it ended',
    role: 'viewer',
    limitedTokens: 'own',
    params: z.object({ jobId }),
    answer: whyAnswer,
    run: async ({ sql, access, params: { jobId } }) => {
      await assertOwnJob(sql, access, jobId);
      return shownTo(access, await why(sql, { jobId }));
    },
  }),
  read({
    path: '/why',
    operationId: 'why',
    tag: 'why',
    summary: 'Why the jobs of a type or of a tenant, or those of the fleet, do not run',
    description: 'A limited token names what it is limited to: a tenant, a type, or both.',
    role: 'viewer',
    limitedTokens: 'own',
    query: z.strictObject({ type: jobType.optional(), tenant: tenantId.optional() }),
    answer: whyAnswer,
    run: async ({ sql, access, query: { type, tenant } }) => {
      assertWithin(access, { tenantId: tenant, jobType: type });
      const { tenantIds, jobTypes } = scopeOf(access);
      const isOpen =
        (tenantIds !== undefined && tenant === undefined) ||
        (jobTypes !== undefined && type === undefined);
      if (isOpen) {
        throw new PurserError(
          'forbidden',
          'a limited token names what it is limited to: ?tenant=, ?type=, or both',
          { status: 403 },
        );
      }
      return shownTo(access, await why(sql, { jobType: type, tenantId: tenant }));
    },
  }),
];
