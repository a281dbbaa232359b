/** The filter of lists of jobs and dead letters, as query parameters. */
import { z } from '@hono/zod-openapi';
import type { Sql } from '../../../db/connect.ts';
import type { JobFilter } from '../../../jobs/search/filter.ts';
import { assertKnown } from '../../../jobs/pauses.ts';
import type { Access } from '../../web-env.ts';
import { assertWithin, scopeOf } from '../requests/limits.ts';
import { group, jobType, tenantId, text, time } from './fields.ts';

const hasWord = /[^\s!-/:-@[-`{-~]/;
const maxAttempt = 1_000_000;

export const searchQuery = {
  tenant: tenantId.optional(),
  type: jobType.optional(),
  code: text(200).optional().openapi({ description: 'An error code', example: 'http_403' }),
  fingerprint: z
    .string()
    .regex(/^\d{1,4}-[0-9a-f]{16}$/, 'must be a number, - and 16 hexadecimal digits')
    .optional(),
  text: text(1_000)
    .refine((given) => hasWord.test(given), 'needs a word to look for')
    .optional()
    .openapi({ description: 'Words, or beginnings of words, in code or message' }),
  since: time.optional(),
  until: time.optional(),
  attempt: z
    .string()
    .regex(/^\d{1,7}$/, 'must be a whole number')
    .transform(Number)
    .refine((given) => given <= maxAttempt, `is at most ${maxAttempt}`)
    .optional()
    .openapi({ type: 'integer', minimum: 0, maximum: maxAttempt }),
  plan: text(200).optional(),
  group: group.optional(),
};

type Search = z.output<z.ZodObject<typeof searchQuery>>;

const dateOf = (given: string | undefined): Date | undefined =>
  given === undefined ? undefined : new Date(given);

/**
 * The filter, within the limits of the token. Throws `forbidden` for a tenant or type outside of them, and `unknown_tenant`
 * or `unknown_job_type`.
 */
export async function filterOf(sql: Sql, access: Access, search: Search): Promise<JobFilter> {
  const { tenant, type } = search;
  assertWithin(access, { tenantId: tenant, jobType: type });
  if (tenant !== undefined) await assertKnown(sql, { scope: 'tenant', name: tenant });
  if (type !== undefined) await assertKnown(sql, { scope: 'job_type', name: type });
  return { ...plainFilterOf(search), ...scopeOf(access) };
}

/** The filter as it is given. */
export function plainFilterOf({
  tenant,
  type,
  code,
  fingerprint,
  text,
  since,
  until,
  attempt,
  plan,
  group,
}: Search): JobFilter {
  return {
    tenantId: tenant,
    jobType: type,
    code,
    fingerprint,
    text,
    since: dateOf(since),
    until: dateOf(until),
    attempt,
    plan,
    group,
  };
}
