/** Stops: what an operator sets to keep LLM calls from being made, of a tenant, a provider or a model. */
import type { Queryable, Sql, Tx } from '../db/connect.ts';
import { mapStoreErrors } from '../db/store-errors.ts';
import { UsageError } from '../errors.ts';

/** A stop names the calls that match all fields that it has; at least one. */
export interface StopTarget {
  readonly tenantId?: string | undefined;
  /** As in a reservation: `openai`, `anthropic`, `google`. */
  readonly provider?: string | undefined;
  readonly model?: string | undefined;
}

export interface Stop extends StopTarget {
  /** Calls that run are ended as well, and their cost is unknown. */
  readonly aborts: boolean;
  readonly reason: string;
  readonly by: string;
  readonly at: Date;
}

function check({ tenantId, provider, model }: StopTarget): void {
  const given = [tenantId, provider, model].filter((one) => one !== undefined);
  if (given.length === 0) {
    throw new UsageError('a stop names a tenant, a provider or a model');
  }
  if (given.some((one) => one === '' || one.length > 200)) {
    throw new UsageError('the names of a stop have 1 to 200 characters');
  }
}

/**
 * Stops calls: from now on none is reserved or sent. A stop of the same calls is replaced. Returns which; undefined where
 * there is no such tenant.
 */
export async function setStop(
  sql: Queryable,
  stop: StopTarget & Pick<Stop, 'aborts' | 'reason' | 'by'>,
): Promise<'added' | 'replaced' | undefined> {
  check(stop);
  const { tenantId = null, provider = null, model = null, aborts, reason, by } = stop;
  const [written] = await mapStoreErrors(
    'stop calls',
    () => sql<{ added: boolean }[]>`
      insert into llm_stops (tenant_id, provider, model, aborts, reason, set_by)
      select ${tenantId}::text, ${provider}::text, ${model}::text, ${aborts}, ${reason}, ${by}
      where ${tenantId}::text is null or exists (select from tenants where id = ${tenantId}::text)
      on conflict (tenant_id, provider, model) do update
        set aborts = excluded.aborts, reason = excluded.reason, set_by = excluded.set_by, at = clock_timestamp()
      returning xmax = 0 as added`,
  );
  if (written === undefined) return undefined;
  return written.added ? 'added' : 'replaced';
}

/** Lifts the stop of exactly these calls and returns it. undefined where there is none. */
export async function liftStop(sql: Queryable, target: StopTarget): Promise<Stop | undefined> {
  check(target);
  const { tenantId = null, provider = null, model = null } = target;
  const [lifted] = await mapStoreErrors(
    'lift a stop',
    () => sql<StopRow[]>`
      delete from llm_stops where tenant_id is not distinct from ${tenantId}::text
        and provider is not distinct from ${provider}::text and model is not distinct from ${model}::text
      returning tenant_id, provider, model, aborts, reason, set_by, at`,
  );
  return lifted === undefined ? undefined : stopOf(lifted);
}

/** The stops that end running calls. */
export async function listAborts(sql: Sql): Promise<StopTarget[]> {
  const rows = await sql<
    { tenant_id: string | null; provider: string | null; model: string | null }[]
  >`
    select tenant_id, provider, model from llm_stops where aborts`;
  return rows.map(({ tenant_id, provider, model }) => ({
    tenantId: tenant_id ?? undefined,
    provider: provider ?? undefined,
    model: model ?? undefined,
  }));
}

export async function listStops(sql: Sql): Promise<Stop[]> {
  const rows = await mapStoreErrors(
    'read stops',
    () => sql<StopRow[]>`
      select tenant_id, provider, model, aborts, reason, set_by, at from llm_stops order by at`,
  );
  return rows.map(stopOf);
}

/** The stop of exactly these calls, locked until the end of the transaction. */
export async function lockStop(tx: Tx, target: StopTarget): Promise<Stop | undefined> {
  const { tenantId = null, provider = null, model = null } = target;
  const [row] = await tx<StopRow[]>`
    select tenant_id, provider, model, aborts, reason, set_by, at from llm_stops
    where tenant_id is not distinct from ${tenantId}::text and provider is not distinct from ${provider}::text
      and model is not distinct from ${model}::text
    for update`;
  return row === undefined ? undefined : stopOf(row);
}

interface StopRow {
  tenant_id: string | null;
  provider: string | null;
  model: string | null;
  aborts: boolean;
  reason: string;
  set_by: string;
  at: Date;
}

const stopOf = ({ tenant_id, provider, model, aborts, reason, set_by, at }: StopRow): Stop => ({
  ...(tenant_id === null ? {} : { tenantId: tenant_id }),
  ...(provider === null ? {} : { provider }),
  ...(model === null ? {} : { model }),
  aborts,
  reason,
  by: set_by,
  at,
});
