/**
 * Limits of the whole fleet's spending, set by an operator: of all calls, or those of a provider, a provider's key or a
 * model. Each tenant spends from an allotment of its own; the sum of the allotments never passes a hard limit.
 */
import { atomically, Overtaken } from '../../db/connect.ts';
import type { Queryable, Sql, Tx } from '../../db/connect.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';
import { codeOf, UsageError } from '../../errors.ts';
import { checkedLimit, checkTimeZone } from '../scopes.ts';

export const fleetScopeKinds = ['fleet', 'provider', 'provider_key', 'model'] as const;

export type FleetScopeKind = (typeof fleetScopeKinds)[number];

/** Which limit is meant. */
export interface FleetScopeTarget {
  readonly kind: FleetScopeKind;
  /** For `provider` and `provider_key`; for `model` only calls at this provider. */
  readonly provider?: string | undefined;
  /** The name of the key, or the model. */
  readonly subject?: string | undefined;
  readonly period: 'day' | 'month';
}

export interface SetFleetScopeRequest extends FleetScopeTarget {
  /** IANA name. A change takes effect when the running period ends. Default `UTC`. */
  readonly timeZone?: string | undefined;
  /** Decimal USD of at most 9 decimals. */
  readonly limitUsd: string;
  /** False admits calls beyond the limit and flags them. */
  readonly hard: boolean;
  readonly by: string;
  /** Default: the database's clock. */
  readonly now?: Date;
}

type Outcome = 'added' | 'changed' | 'unchanged';

export interface FleetScopeValues {
  readonly timeZone: string;
  readonly limitUsd: string;
  readonly hard: boolean;
}

export interface FleetScopeChange {
  readonly outcome: Outcome;
  readonly before: FleetScopeValues | null;
  readonly after: FleetScopeValues;
}

/**
 * Adds a limit, counted from the calls that were made in its running period, or changes it; effective for every reserve
 * that commits after this call. A new one is counted tenant by tenant and binds when all are; where that is interrupted,
 * the same call goes on with it. `record` is run in the transaction that stores it. Throws a `UsageError` for a limit or
 * a zone that is none.
 */
export async function setFleetScope(
  sql: Sql,
  request: SetFleetScopeRequest,
  record?: (tx: Tx, change: FleetScopeChange) => Promise<void>,
): Promise<Outcome> {
  const { timeZone = 'UTC', hard, by, now } = request;
  const { kind, provider, subject, period } = checkTarget(request);
  const limitUsd = checkedLimit(request.limitUsd);
  checkTimeZone(timeZone);
  return mapStoreErrors('set a limit of the fleet', async () => {
    const row = await atomically(sql, async (tx) => {
      const before = (await readFleetScope(tx, request)) ?? null;
      const [stored] = await tx<
        { outcome: Outcome; scope_id: string; filled: boolean; at: Date }[]
      >`
        select outcome, scope_id, filled, coalesce(${now ?? null}::timestamptz, now()) as at
        from purser.set_fleet_scope(${kind}, ${provider}, ${subject}, ${period},
          ${timeZone}, ${limitUsd}::numeric, ${hard}, ${by})`;
      if (stored === undefined) throw new Error('purser.set_fleet_scope returned no row');
      const { outcome } = stored;
      if (before === null && outcome !== 'added') throw new Overtaken();
      await record?.(tx, { before, after: { timeZone, limitUsd, hard }, outcome });
      return stored;
    });
    // The same for all tenants, although their period may turn meanwhile.
    const { at } = row;
    await sql`select purser.open_fleet_periods(${at}::timestamptz)`;
    if (!row.filled) await fillScope(sql, { scopeId: row.scope_id, at });
    await awaitReserves(sql, row.scope_id);
    return row.outcome;
  });
}

const foreignKeyViolation = '23503';

/** Of a tenant that is removed meanwhile, nothing is counted. */
async function isTenant(sql: Sql, id: string): Promise<boolean> {
  return (await sql`select from tenants where id = ${id}`).length > 0;
}

/** undefined where there is no such limit. Locks its row, so that the values stay until the end of the transaction. */
export async function readFleetScope(
  sql: Queryable,
  target: FleetScopeTarget,
): Promise<FleetScopeValues | undefined> {
  const { kind, provider, subject, period } = checkTarget(target);
  const [row] = await sql<FleetScopeValues[]>`
    select time_zone as "timeZone", trim_scale(limit_usd) as "limitUsd", hard_limit as hard
    from llm_fleet_scopes
    where removed_at is null and kind = ${kind} and provider is not distinct from ${provider}::text
      and subject is not distinct from ${subject}::text and period = ${period}
    for no key update`;
  return row;
}

const tenantsAtOnce = 1000;

/** Tenants that are added meanwhile make calls that see the scope. */
async function fillScope(
  sql: Sql,
  { scopeId, at }: { readonly scopeId: string; readonly at: Date },
): Promise<void> {
  for (let after = ''; ;) {
    const tenants = await sql<{ id: string }[]>`
      select id from tenants where id > ${after} order by id limit ${tenantsAtOnce}`;
    for (const { id } of tenants) {
      await sql`
        select purser.fill_fleet_scope(${scopeId}::bigint, ${id}, ${at}::timestamptz)`.catch(
        async (error: unknown) => {
          if (codeOf(error) !== foreignKeyViolation || (await isTenant(sql, id))) throw error;
        },
      );
    }
    const last = tenants.at(-1);
    if (last === undefined) break;
    after = last.id;
  }
  await sql`select purser.start_fleet_scope(${scopeId}::bigint)`;
}

const allotmentsAtOnce = 100;

/** A reserve that read the scope before it was changed holds its allotment, or the row of the period. */
async function awaitReserves(sql: Sql, scopeId: string): Promise<void> {
  for (let after: string | null = '0'; after !== null;) {
    const [row]: { last: string | null }[] = await sql<{ last: string | null }[]>`
      select purser.await_reserves(${scopeId}::bigint, ${after}::bigint, ${allotmentsAtOnce}) as last`;
    after = row?.last ?? null;
  }
}

/** False where there is no such limit. */
export async function removeFleetScope(sql: Queryable, target: FleetScopeTarget): Promise<boolean> {
  const { kind, provider, subject, period } = checkTarget(target);
  const [row] = await mapStoreErrors(
    'remove a limit of the fleet',
    () => sql<{ removed: boolean }[]>`
      select purser.remove_fleet_scope(${kind}, ${provider}, ${subject}, ${period}) as removed`,
  );
  return row?.removed === true;
}

function checkTarget({ kind, provider, subject, period }: FleetScopeTarget) {
  const needsProvider = kind === 'provider' || kind === 'provider_key';
  const needsSubject = kind === 'provider_key' || kind === 'model';
  if (needsProvider && provider === undefined) {
    throw new UsageError(
      `a limit of kind ${kind.replace('_', '-')} needs the name of the provider, e.g. --provider openai`,
    );
  }
  if (kind === 'fleet' && provider !== undefined) {
    throw new UsageError('a limit of kind fleet takes no --provider');
  }
  if (needsSubject !== (subject !== undefined)) {
    throw new UsageError(
      needsSubject
        ? kind === 'model'
          ? 'a limit of kind model needs the name of the model, e.g. --model gpt-4o'
          : 'a limit of kind provider-key needs the name of the key, e.g. --key platform'
        : `a limit of kind ${kind} takes no --key and no --model`,
    );
  }
  for (const name of [provider, subject]) {
    if (name !== undefined && (name === '' || name.length > 200)) {
      throw new UsageError('the name of a provider, a key or a model has 1 to 200 characters');
    }
  }
  return { kind, provider: provider ?? null, subject: subject ?? null, period };
}
