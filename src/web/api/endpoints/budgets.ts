/** The budgets of tenants: what is spent, held and left, the limit, and top-ups. */
import { z } from '@hono/zod-openapi';
import { PurserError } from '../../../errors.ts';
import { assertKnown } from '../../../jobs/pauses.ts';
import type { Queryable } from '../../../db/connect.ts';
import { listBudgets } from '../../../operations/lists/budgets.ts';
import { setLimitAs, topUpAs } from '../../../operations/money/budget.ts';
import { read, write } from '../endpoint.ts';
import type { Endpoint } from '../endpoint.ts';
import { pageOf, placeOf } from '../requests/cursors.ts';
import { assertWholeTenant, scopeOf } from '../requests/limits.ts';
import { amount, at, pageOfItems, pageQuery, reason, tenantId, usd } from '../schemas/fields.ts';
import { unknownName } from '../../../names.ts';

const budget = z
  .object({
    tenantId,
    monthlyLimitUsd: amount,
    hardLimit: z.boolean(),
    limitSource: z.enum(['plan', 'operator']),
    topUpUsd: amount,
    spentUsd: amount,
    unknownUsd: amount.openapi({ description: 'Charged at the hold, because the cost is unknown' }),
    reservedUsd: amount,
    availableUsd: amount,
    periodStart: z.string().openapi({ format: 'date' }),
    resetsAt: at,
  })
  .openapi('Budget');

async function budgetOf(sql: Queryable, tenantId: string): Promise<unknown> {
  const [found] = await listBudgets(sql, { tenantIds: [tenantId], limit: 1 });
  if (found !== undefined) return found;
  throw new PurserError('unknown_tenant', unknownName('tenant', tenantId), { status: 404 });
}

export const isTenantPlace = (place: string): boolean =>
  place.length <= 200 && place.isWellFormed() && !place.includes('\0');

const ofTenant = {
  tag: 'money',
  limitedTokens: 'own',
  params: z.object({ tenantId }),
  answer: budget,
} as const;

export const budgetEndpoints: readonly Endpoint[] = [
  read({
    path: '/budgets',
    operationId: 'listBudgets',
    tag: 'money',
    summary: 'List budgets by tenant',
    role: 'viewer',
    limitedTokens: 'own',
    query: z.strictObject(pageQuery),
    answer: pageOfItems(budget),
    run: async ({ sql, access, query: { limit, cursor } }) => {
      assertWholeTenant(access);
      const afterId = placeOf('budgets', cursor, isTenantPlace);
      const { tenantIds } = scopeOf(access);
      const rows = await listBudgets(sql, { tenantIds, afterId, limit: limit + 1 });
      return pageOf('budgets', rows, limit, (row) => row.tenantId);
    },
  }),
  read({
    ...ofTenant,
    path: '/tenants/{tenantId}/budget',
    operationId: 'getBudget',
    summary: 'The budget of a tenant',
    role: 'viewer',
    run: async ({ sql, access, params: { tenantId } }) => {
      assertWholeTenant(access, tenantId);
      return budgetOf(sql, tenantId);
    },
  }),
  write({
    ...ofTenant,
    method: 'put',
    path: '/tenants/{tenantId}/budget',
    operationId: 'setBudget',
    summary: 'Set the monthly limit of a tenant',
    role: 'operator',
    key: 'required',
    body: z.strictObject({
      monthlyLimitUsd: usd,
      hard: z
        .boolean()
        .default(true)
        .openapi({ description: 'false admits calls beyond the limit and flags them' }),
      reason,
    }),
    act: async ({ sql, access, operator, params: { tenantId }, body }) => {
      assertWholeTenant(access, tenantId);
      await assertKnown(sql, { scope: 'tenant', name: tenantId });
      return async (tx) => {
        await setLimitAs(tx, operator, { tenantId, ...body });
        return budgetOf(tx, tenantId);
      };
    },
  }),
  write({
    ...ofTenant,
    method: 'post',
    path: '/tenants/{tenantId}/budget/top-up',
    operationId: 'topUpBudget',
    summary: 'Add an amount to the running month of a tenant alone',
    role: 'operator',
    key: 'required',
    body: z.strictObject({ usd, reason }),
    act: async ({ sql, access, operator, params: { tenantId }, body }) => {
      assertWholeTenant(access, tenantId);
      await assertKnown(sql, { scope: 'tenant', name: tenantId });
      return async (tx) => {
        await topUpAs(tx, operator, { tenantId, ...body });
        return budgetOf(tx, tenantId);
      };
    },
  }),
];
