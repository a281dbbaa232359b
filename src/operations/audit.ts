/**
 * The record of what operators did. Each act writes its row in its own transaction, so that there is no act without a
 * row and no row without its act; an act that changed nothing has none. Rows are never changed.
 */
import { isDeepStrictEqual } from 'node:util';
import { atomically } from '../db/connect.ts';
import type { Fragment, Queryable, Sql, Tx } from '../db/connect.ts';

/** Who acts, by which door, and what proves it. */
export interface Operator {
  readonly name: string;
  /** asserted: a command line, whose user of the operating system is taken at its word. */
  readonly proof: 'session' | 'token' | 'environment' | 'asserted';
  readonly door: 'cli' | 'api' | 'console' | 'board';
  /** Of a command line. */
  readonly host?: string | undefined;
}

/** No values of payloads or secrets: field names and keyed hashes only. */
export interface Act {
  /** A stable word, e.g. `replay`, `pause`, `budget_set`. */
  readonly act: string;
  readonly tenantId?: string | undefined;
  readonly jobType?: string | undefined;
  /** The filter, or the name of what was changed. */
  readonly target?: Readonly<Record<string, unknown>> | undefined;
  readonly reason?: string | undefined;
  /** Rows changed. Default 1. */
  readonly affected?: number | undefined;
  /** The first 1,000 are kept. */
  readonly jobIds?: readonly string[] | undefined;
  readonly before?: unknown;
  readonly after?: unknown;
}

/** What the functions of acts take besides. */
export interface Reasoned {
  readonly reason?: string | undefined;
}

const maxJobIds = 1_000;

/** Writes the row of an act in the act's transaction. */
export async function recordAct(sql: Tx, operator: Operator, act: Act): Promise<void> {
  await sql`
    insert into public.operator_acts (operator, proof, host, door, act, tenant_id, job_type, target, reason, affected,
      job_ids, before, after)
    values (${operator.name}, ${operator.proof}, ${operator.host ?? null}, ${operator.door}, ${act.act},
      ${act.tenantId ?? null}, ${act.jobType ?? null}, ${JSON.stringify(act.target ?? {})}::text::jsonb, ${act.reason ?? null},
      ${act.affected ?? 1}, ${(act.jobIds ?? []).slice(0, maxJobIds)}::bigint[],
      ${jsonOf(act.before)}::text::jsonb, ${jsonOf(act.after)}::text::jsonb)`;
}

const jsonOf = (value: unknown): string | null =>
  value === undefined ? null : JSON.stringify(value);

/** What a function of `performAct` has done. */
export interface Performed<T> {
  readonly result: T;
  /** undefined: nothing was changed. */
  readonly act?: Act | undefined;
}

/**
 * Runs `run` in one transaction together with the row of its act, and returns its result. No row is written where
 * nothing was changed: `act` is undefined, or its `before` and `after` are the same. `run` is repeated after `Overtaken`.
 */
export async function performAct<T>(
  sql: Sql | Tx,
  operator: Operator,
  run: (tx: Tx) => Promise<Performed<T>>,
): Promise<T> {
  return atomically(sql, async (tx) => {
    const { result, act } = await run(tx);
    if (act !== undefined && !isUnchanged(act)) await recordAct(tx, operator, act);
    return result;
  });
}

/** As it is stored: a Date becomes its text. */
const stored = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

function isUnchanged({ before, after }: Act): boolean {
  if (before === undefined || after === undefined) return false;
  return isDeepStrictEqual(stored(before), stored(after));
}

export interface ActRow extends Operator, Act {
  readonly id: string;
  readonly at: Date;
}

/** Which rows; a field that is left out restricts nothing. */
export interface ActFilter {
  readonly operator?: string | undefined;
  readonly act?: string | undefined;
  readonly tenantId?: string | undefined;
  readonly jobId?: string | undefined;
  readonly since?: Date | undefined;
}

interface ActPage {
  /** Only rows before this id: the cursor. */
  readonly beforeId?: string | undefined;
  readonly limit: number;
}

/** Newest first. */
export async function listActs(sql: Queryable, filter: ActFilter & ActPage): Promise<ActRow[]> {
  const { beforeId, limit } = filter;
  return sql<ActRow[]>`
    select id, at, operator as name, proof, host, door, act, tenant_id as "tenantId", job_type as "jobType", target,
           reason, affected::float8 as affected, job_ids::text[] as "jobIds", before, after
    from public.operator_acts
    where ${matching(sql, filter)} and (${beforeId ?? null}::bigint is null or id < ${beforeId ?? null})
    order by id desc
    limit ${limit}`;
}

export async function countActs(sql: Queryable, filter: ActFilter): Promise<number> {
  const [row] = await sql<{ acts: number }[]>`
    select count(*)::int as acts from public.operator_acts where ${matching(sql, filter)}`;
  return row?.acts ?? 0;
}

function matching(sql: Queryable, filter: ActFilter): Fragment {
  const { operator, act, tenantId, jobId, since } = filter;
  return sql`
    true ${operator === undefined ? sql`` : sql`and operator = ${operator}`}
    ${act === undefined ? sql`` : sql`and act = ${act}`}
    ${tenantId === undefined ? sql`` : sql`and tenant_id = ${tenantId}`}
    ${jobId === undefined ? sql`` : sql`and job_ids @> array[${jobId}::bigint]`}
    ${since === undefined ? sql`` : sql`and at >= ${since}`}`;
}
