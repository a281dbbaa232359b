/** The tenants. */
import { z } from '@hono/zod-openapi';
import { listPlannedTenants } from '../../../operations/lists/tenants.ts';
import { cohorts } from '../../../schedules/define.ts';
import { read } from '../endpoint.ts';
import type { Endpoint } from '../endpoint.ts';
import { pageOf, placeOf } from '../requests/cursors.ts';
import { scopeOf } from '../requests/limits.ts';
import { at, pageOfItems, pageQuery, tenantId } from '../schemas/fields.ts';
import { isTenantPlace } from './budgets.ts';

const tenant = z
  .object({
    tenantId,
    plan: z.string(),
    cohort: z.enum(cohorts),
    weight: z.int(),
    createdAt: at,
    lastActiveAt: at,
    nextRunAt: at.nullable(),
  })
  .openapi('Tenant');

export const tenantEndpoint: Endpoint = read({
  path: '/tenants',
  operationId: 'listTenants',
  tag: 'tenants',
  summary: 'List tenants by id',
  role: 'viewer',
  limitedTokens: 'own',
  query: z.strictObject(pageQuery),
  answer: pageOfItems(tenant),
  run: async ({ sql, access, query: { limit, cursor } }) => {
    const afterId = placeOf('tenants', cursor, isTenantPlace);
    const { tenantIds } = scopeOf(access);
    const rows = await listPlannedTenants(sql, { tenantIds, afterId, limit: limit + 1 });
    return pageOf('tenants', rows, limit, (row) => row.tenantId);
  },
});
