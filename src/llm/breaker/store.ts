/** The breakers in Postgres, which all workers share. */
import type { Queryable, Sql } from '../../db/connect.ts';
import { lockTimeout } from '../../db/row-faults.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';
import type { BreakerId, BreakerKind } from './breaker-id.ts';
import type { Verdict } from './tally.ts';

export type BreakerState = 'closed' | 'open' | 'probing';

/** A breaker that is not closed. */
export interface OpenBreaker {
  readonly kind: BreakerKind;
  readonly key: string;
  readonly state: Exclude<BreakerState, 'closed'>;
  /** Until a probe may be taken. */
  readonly waitMs: number;
  readonly lastError: string;
}

export async function readOpen(sql: Queryable): Promise<OpenBreaker[]> {
  return sql<OpenBreaker[]>`
    select kind, key, state, last_error as "lastError",
      greatest(0, ceil(extract(epoch from until - clock_timestamp()) * 1000))::float8 as "waitMs"
    from llm_breakers where state <> 'closed'`;
}

/** Without `probe`: the breaker opens. With it: how the probe ended. */
export interface BreakerChange extends Pick<
  BreakerId,
  'kind' | 'key' | 'provider' | 'name' | 'tenantId'
> {
  readonly tenants?: number | undefined;
  readonly error?: string | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly probe?: string | undefined;
  readonly result?: Verdict | undefined;
}

export interface MadeChange {
  readonly kind: BreakerKind;
  readonly key: string;
  readonly before: BreakerState;
  readonly state: BreakerState;
  readonly until: Date | null;
}

/** One statement for all; returns those that were made. */
export async function changeBreakers(
  sql: Queryable,
  changes: readonly BreakerChange[],
  by: string,
  now?: Date,
): Promise<MadeChange[]> {
  const rows = changes.map(({ tenantId, retryAfterMs, ...change }) => ({
    ...change,
    tenant_id: tenantId,
    retry_after_ms: retryAfterMs === undefined ? undefined : Math.ceil(retryAfterMs),
  }));
  return sql<MadeChange[]>`
    with ${lockTimeout(sql)}
    select c.breaker_kind as kind, c.breaker_key as key, c.state_before as before, c.state_now as state,
      c.ends_at as until
    from lock_timeout t, purser.change_breakers(
      case when t.set_config is not null then ${JSON.stringify(rows)}::text::jsonb end, ${by}, ${now ?? null}::timestamptz) c`;
}

export interface ProbeRequest {
  /** `kind:key` of every breaker in the way. */
  readonly names: readonly string[];
  readonly probe: string;
  /** After which another call may take it. */
  readonly leaseMs: number;
  readonly by: string;
  readonly now?: Date;
}

/** Takes the lease of all of them or of none; true for one call in the fleet. */
export async function takeProbe(sql: Queryable, request: ProbeRequest): Promise<boolean> {
  const { names, probe, leaseMs, by, now = null } = request;
  const [row] = await sql<{ taken: boolean }[]>`
    select purser.take_probe(${[...names]}::text[], ${probe}::uuid,
      ${leaseMs}::double precision * interval '1 millisecond', ${by}, ${now}::timestamptz) as taken`;
  return row?.taken === true;
}

export interface Refusal {
  readonly tenantId: string;
  readonly jobId: string;
  readonly token: string;
  readonly provider: string;
  readonly providerKey?: string | undefined;
  readonly model: string;
  readonly neededUsd: string;
  /** `kind:key`, one of each form. */
  readonly breakers: readonly string[];
}

/** By this the job wakes when one of the breakers is closed. */
export async function recordRefusal(sql: Queryable, refusal: Refusal): Promise<void> {
  const { tenantId, jobId, token, provider, providerKey, model, neededUsd, breakers } = refusal;
  await sql`
    with ${lockTimeout(sql)}
    select from lock_timeout t, purser.refuse_call(
      case when t.set_config is not null then ${tenantId} end, ${jobId}::bigint, ${token}::uuid, ${provider},
      ${providerKey ?? 'platform'}, ${model}, ${[...breakers]}::text[], ${neededUsd}::numeric)`;
}

export interface Breaker {
  readonly name: string;
  readonly state: BreakerState;
  readonly openedAt: Date;
  readonly opens: number;
  readonly until: Date | null;
  readonly lastError: string;
  readonly by: string;
  readonly at: Date;
}

/** Those that are not closed first. */
export function listBreakers(sql: Sql): Promise<Breaker[]> {
  return mapStoreErrors(
    'read circuit breakers',
    () => sql<Breaker[]>`
      select kind || ':' || key as name, state, opened_at as "openedAt", opens, until, last_error as "lastError",
        changed_by as by, changed_at as at
      from llm_breakers order by state = 'closed', changed_at desc, kind, key`,
  );
}

/** The state that it had; undefined where there is no such breaker. */
export async function resetBreaker(
  sql: Queryable,
  name: string,
  by: string,
): Promise<BreakerState | undefined> {
  const [row] = await mapStoreErrors(
    'close a circuit breaker',
    () => sql<{ state: BreakerState }[]>`
      with before as (
        select b.kind, b.key, b.state from llm_breakers b where b.kind || ':' || b.key = ${name} for no key update
      ), closed as (
        update llm_breakers b
        set state = 'closed', until = null, probe = null, woken_at = null, changed_by = ${by}, changed_at = clock_timestamp()
        from before f where b.kind = f.kind and b.key = f.key and f.state <> 'closed'
      )
      select state from before`,
  );
  return row?.state;
}
