/** The tenant that a path or a form names. */
import type { Context } from 'hono';
import { PurserError } from '../../../errors.ts';
import { z } from 'zod';
import { isStorable, unknownName } from '../../../names.ts';
import type { WebEnv } from '../../web-env.ts';

export const noTenant = (id: string): PurserError =>
  new PurserError('unknown_tenant', unknownName('tenant', id), { status: 404 });

const canBeId = (id: string): boolean => id !== '' && id.length <= 200 && isStorable(id);

/** Of a form. */
export const tenantField = () =>
  z
    .string({ error: 'is needed: the id of a tenant' })
    .refine(canBeId, 'takes the id of a tenant, of 1 to 200 characters');

/** Throws `unknown_tenant` (404) for what can be no id. */
export function tenantOf(c: Context<WebEnv>): string {
  const id = c.req.param('tenant') ?? '';
  if (!canBeId(id)) throw noTenant(id);
  return id;
}
