/** Enqueueing by the API: checked and sealed as the command line does, and one job for each key. */
import { z } from '@hono/zod-openapi';
import { enqueue } from '../../../jobs/enqueue.ts';
import { assertKnown } from '../../../jobs/pauses.ts';
import { serialise } from '../../../jobs/request.ts';
import { unservedWarning } from '../../../jobs/unserved/warning.ts';
import { write } from '../endpoint.ts';
import type { Endpoint } from '../endpoint.ts';
import { assertWithin, scopeOf } from '../requests/limits.ts';
import { group, jobId, jobType, tenantId, text, time } from '../schemas/fields.ts';

const isObject = (value: unknown): value is object =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

const payload = z.custom<object>(isObject, 'must be a JSON object').openapi({
  type: 'object',
  additionalProperties: true,
  description: 'At most 1 MiB. Default {}',
});

const priority = z
  .int()
  .min(-1_000)
  .max(1_000)
  .openapi({ description: 'Higher runs first within the tenant. Default 0' });

export const enqueueEndpoint: Endpoint = write({
  method: 'post',
  path: '/jobs',
  operationId: 'enqueueJob',
  tag: 'jobs',
  summary: 'Enqueue a job',
  description:
    'The payload is checked by the schema of its handler where the web process has it, and its secret fields are stored ' +
    'encrypted. `created` is false where a job has the dedup key already. `warning` says that no live worker runs the type.',
  role: 'operator',
  limitedTokens: 'own',
  key: 'required',
  status: 201,
  body: z.strictObject({
    tenantId,
    jobType,
    payload: payload.optional(),
    dedupKey: text(1_000).optional().openapi({
      description: 'Unique per tenant and type until the job has ended and 24 h have passed',
    }),
    runAt: time.optional().openapi({ description: 'Not before. One that has passed: at once' }),
    priority: priority.optional(),
    group: group.optional(),
  }),
  answer: z.object({
    jobId,
    created: z.boolean(),
    warning: z.string().optional(),
  }),
  act: async ({ services, sql, access, body }) => {
    const { tenantId, jobType, payload = {}, runAt, ...options } = body;
    assertWithin(access, { tenantId, jobType });
    await assertKnown(sql, { scope: 'tenant', name: tenantId });
    await assertKnown(sql, { scope: 'job_type', name: jobType });
    // Before secret fields are encrypted: numbers that lost digits in the parser are refused.
    serialise(payload);
    const sealed = await services.payloads.prepare({ tenantId, jobType }, payload);
    const warning = await unservedWarning(sql, jobType);
    // The whole one names the types of others.
    const isLimited = scopeOf(access).jobTypes !== undefined;
    const shown =
      warning === undefined || !isLimited
        ? warning
        : `no live worker runs jobs of ${jobType}; the job is accepted and waits for one`;
    return async (tx) => {
      const { jobId, created } = await enqueue(tx, {
        tenantId,
        jobType,
        payload: sealed,
        runAt: runAt === undefined ? undefined : new Date(runAt),
        ...options,
      });
      return { jobId, created, warning: shown };
    };
  },
});
