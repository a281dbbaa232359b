/** What operators did. */
import { z } from '@hono/zod-openapi';
import { isJobId } from '../../../job-id.ts';
import { listActs } from '../../../operations/audit.ts';
import { read } from '../endpoint.ts';
import type { Endpoint } from '../endpoint.ts';
import { pageOf, placeOf } from '../requests/cursors.ts';
import {
  at,
  facts,
  jobId,
  pageOfItems,
  pageQuery,
  tenantId,
  text,
  time,
} from '../schemas/fields.ts';

const act = z
  .object({
    id: z.string(),
    at,
    name: z.string().openapi({ description: 'Of the operator or token' }),
    proof: z.enum(['session', 'token', 'environment', 'asserted']),
    host: z.string().nullable(),
    door: z.enum(['cli', 'api', 'console', 'board']),
    act: z.string(),
    tenantId: z.string().nullable(),
    jobType: z.string().nullable(),
    target: facts,
    reason: z.string().nullable(),
    affected: z.number(),
    jobIds: z.array(z.string()),
    before: z.unknown(),
    after: z.unknown(),
  })
  .openapi('Act');

export const auditEndpoint: Endpoint = read({
  path: '/audit',
  operationId: 'listActs',
  tag: 'audit',
  summary: 'List what operators did, newest first',
  role: 'viewer',
  limitedTokens: 'refused',
  query: z.strictObject({
    operator: text(500).optional(),
    act: text(100).optional(),
    tenant: tenantId.optional(),
    job: jobId.optional(),
    since: time.optional(),
    ...pageQuery,
  }),
  answer: pageOfItems(act),
  run: async ({ sql, query }) => {
    const { operator, act, tenant: tenantId, job: jobId, since, limit, cursor } = query;
    const rows = await listActs(sql, {
      operator,
      act,
      tenantId,
      jobId,
      since: since === undefined ? undefined : new Date(since),
      beforeId: placeOf('audit', cursor, isJobId),
      limit: limit + 1,
    });
    return pageOf('audit', rows, limit, ({ id }) => id);
  },
});
