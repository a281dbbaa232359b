/**
 * Tokens of programs that call the API: random, shown once, stored as hashes only, and valid for a year at most. A token
 * has a role, and may be limited to tenants and job types.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Queryable, Tx } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import { recordAct } from '../audit.ts';
import type { Operator, Reasoned } from '../audit.ts';
import type { Role } from './roles.ts';

export const maxTokenDays = 365;

/** Empty lists limit nothing. */
export interface TokenLimits {
  readonly tenants: readonly string[];
  readonly jobTypes: readonly string[];
}

export interface ApiToken extends TokenLimits {
  readonly name: string;
  readonly role: Role;
}

export interface ListedToken extends ApiToken {
  readonly createdAt: Date;
  /** Written once a minute at most. */
  readonly lastUsedAt: Date | null;
  readonly expiresAt: Date;
}

const prefix = 'purser_';
const form = /^purser_[A-Za-z0-9_-]{43}$/;
const hashOf = (token: string): Buffer => createHash('sha256').update(token).digest();

export interface NewToken extends ApiToken, Reasoned {
  readonly expiresAt: Date;
}

/**
 * Returns the token, which is stored nowhere. Throws `token_exists`, `token_expiry` for an expiry that is past or more than
 * a year ahead, and `unknown_tenant` or `unknown_job_type` for a limit that names none.
 */
export async function addToken(tx: Tx, operator: Operator, added: NewToken): Promise<string> {
  const { name, role, tenants, jobTypes, expiresAt } = added;
  const aheadMs = expiresAt.getTime() - Date.now();
  if (!(aheadMs > 0 && aheadMs <= maxTokenDays * 86_400_000)) {
    throw new PurserError(
      'token_expiry',
      `a token expires in the future, after ${maxTokenDays} days at most`,
    );
  }
  await refuseUnknown(tx, added);
  const token = prefix + randomBytes(32).toString('base64url');
  const rows = await tx`
    insert into public.api_tokens (name, token_hash, role, tenants, job_types, expires_at)
    values (${name}, ${hashOf(token)}, ${role}, ${[...tenants]}::text[], ${[...jobTypes]}::text[], ${expiresAt})
    on conflict (name) do nothing returning name`;
  if (rows.length === 0) {
    throw new PurserError(
      'token_exists',
      `there is a token ${JSON.stringify(name)} already; remove it first, or choose another name`,
    );
  }
  await recordAct(tx, operator, {
    act: 'token_add',
    target: { name },
    reason: added.reason,
    after: { role, tenants, jobTypes, expiresAt },
  });
  return token;
}

async function refuseUnknown(tx: Tx, { tenants, jobTypes }: TokenLimits): Promise<void> {
  const [tenant] = await tx<{ name: string }[]>`
    select name from unnest(${[...tenants]}::text[]) name
    where not exists (select from public.tenants t where t.id = name) limit 1`;
  if (tenant !== undefined) {
    throw new PurserError('unknown_tenant', `there is no tenant ${JSON.stringify(tenant.name)}`);
  }
  const [type] = await tx<{ name: string }[]>`
    select name from unnest(${[...jobTypes]}::text[]) name
    where not exists (select from public.job_types t where t.job_type = name) limit 1`;
  if (type !== undefined) {
    throw new PurserError('unknown_job_type', `there is no job type ${JSON.stringify(type.name)}`);
  }
}

/** Throws `unknown_token`. */
export async function removeToken(
  tx: Tx,
  operator: Operator,
  { name, reason }: { readonly name: string } & Reasoned,
): Promise<void> {
  const [removed] = await tx<ApiToken[]>`
    delete from public.api_tokens where name = ${name}
    returning name, role, tenants, job_types as "jobTypes"`;
  if (removed === undefined) {
    throw new PurserError(
      'unknown_token',
      `there is no token ${JSON.stringify(name)}; see: purser tokens list`,
      { status: 404 },
    );
  }
  const { role, tenants, jobTypes } = removed;
  await recordAct(tx, operator, {
    act: 'token_remove',
    target: { name },
    reason,
    before: { role, tenants, jobTypes },
  });
}

/** By name; also those that have expired. */
export async function listTokens(sql: Queryable): Promise<ListedToken[]> {
  return sql<ListedToken[]>`
    select name, role, tenants, job_types as "jobTypes", created_at as "createdAt", last_used_at as "lastUsedAt",
      expires_at as "expiresAt"
    from public.api_tokens order by name`;
}

/** The token of a request, which is used now; undefined for one that is unknown, removed or expired. */
export async function findToken(sql: Queryable, token: string): Promise<ApiToken | undefined> {
  if (!form.test(token)) return undefined;
  const [found] = await sql<(ApiToken & { stale: boolean })[]>`
    select name, role, tenants, job_types as "jobTypes",
      coalesce(last_used_at < clock_timestamp() - interval '1 minute', true) as stale
    from public.api_tokens where token_hash = ${hashOf(token)} and expires_at > clock_timestamp()`;
  if (found === undefined) return undefined;
  const { stale, ...known } = found;
  if (stale) await markUsed(sql, known.name);
  return known;
}

async function markUsed(sql: Queryable, name: string): Promise<void> {
  await sql`update public.api_tokens set last_used_at = clock_timestamp() where name = ${name}`;
}
