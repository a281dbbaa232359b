/** LLM calls of which nobody knows the cost, and the invoice or log that tells it. */
import { z } from '@hono/zod-openapi';
import { parseUsd } from '../../../budget/money.ts';
import type { Queryable } from '../../../db/connect.ts';
import { PurserError } from '../../../errors.ts';
import { callNamed, isCallPlace, listUnknownCalls } from '../../../operations/lists/calls.ts';
import { resolveAs } from '../../../operations/money/costs.ts';
import type { Access } from '../../web-env.ts';
import { read, write } from '../endpoint.ts';
import type { Endpoint } from '../endpoint.ts';
import { pageOf, placeOf } from '../requests/cursors.ts';
import { assertWithin, scopeOf } from '../requests/limits.ts';
import {
  amount,
  at,
  pageOfItems,
  pageQuery,
  reason,
  reservationId,
  tenantId,
  usd,
} from '../schemas/fields.ts';

const unknownCall = z
  .object({
    reservationId: z.string(),
    tenantId,
    jobId: z.string().nullable(),
    jobType: z.string().nullable(),
    provider: z.string(),
    model: z.string(),
    providerKey: z.string().nullable(),
    holdUsd: amount,
    sentAt: at.nullable(),
  })
  .openapi('UnknownCall');

/** Throws `unknown_reservation` (404), also for a call outside of the limits. */
async function assertOwnCall(sql: Queryable, access: Access, id: string): Promise<void> {
  const { tenantIds, jobTypes } = scopeOf(access);
  const call = await callNamed(sql, id);
  const isOwn =
    call !== undefined &&
    tenantIds?.includes(call.tenantId) !== false &&
    jobTypes?.includes(call.jobType ?? '') !== false;
  if (!isOwn) {
    throw new PurserError('unknown_reservation', `there is no reservation ${id}`, { status: 404 });
  }
}

export const callEndpoints: readonly Endpoint[] = [
  read({
    path: '/llm-calls',
    operationId: 'listUnknownCalls',
    tag: 'money',
    summary: 'List LLM calls whose cost is unknown, oldest first',
    description: 'Each stays charged at its hold until it is resolved, or for 48 hours.',
    role: 'viewer',
    limitedTokens: 'own',
    query: z.strictObject({
      state: z.literal('unknown', 'must be unknown').openapi({ description: 'Only unknown' }),
      tenant: tenantId.optional(),
      ...pageQuery,
    }),
    answer: pageOfItems(unknownCall),
    run: async ({ sql, access, query: { tenant, limit, cursor } }) => {
      assertWithin(access, { tenantId: tenant });
      const after = placeOf('llm_calls', cursor, isCallPlace);
      const page = { tenantId: tenant, ...scopeOf(access), after, limit: limit + 1 };
      const rows = await listUnknownCalls(sql, page);
      return pageOf('llm_calls', rows, limit, (row) => row.place);
    },
  }),
  write({
    method: 'post',
    path: '/llm-calls/{reservationId}/resolve',
    operationId: 'resolveCall',
    tag: 'money',
    summary: 'Settle an unknown call, or correct a settled one, by what an invoice or a log shows',
    role: 'operator',
    limitedTokens: 'own',
    key: 'required',
    params: z.object({ reservationId }),
    body: z.strictObject({
      usd: usd.openapi({ description: 'What was billed; 0 if it was not' }),
      evidence: z
        .string()
        .trim()
        .min(1, 'must not be empty')
        .max(200, 'has at most 200 characters')
        .refine(
          (given) => given.isWellFormed() && !/\p{Cc}/u.test(given),
          'must be one line of text',
        )
        .openapi({
          description: 'What shows it; counted once per call',
          example: 'invoice 2026-11 line 17',
        }),
      reason,
    }),
    answer: z.object({
      reservationId: z.string(),
      outcome: z.enum(['settled', 'adjusted', 'unchanged', 'repeated']),
      usd: amount,
    }),
    act: async ({ sql, access, operator, params: { reservationId }, body }) => {
      await assertOwnCall(sql, access, reservationId);
      const { usd, evidence, reason } = body;
      const costNanoUsd = parseUsd(usd);
      return async (tx) => {
        const request = { reservationId, costNanoUsd, evidence, reason };
        const { outcome } = await resolveAs(tx, operator, request);
        return { reservationId, outcome, usd };
      };
    },
  }),
];
