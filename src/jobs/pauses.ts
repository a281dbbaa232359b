/**
 * Pauses: targets whose jobs are not dispatched. When `pauseWork` returns, every claim that began before the pause has
 * ended, unless it says otherwise. Jobs that are already in a queue still run, unless the pause is a stop: see
 * stop/stopped.ts.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Queryable, Sql, Tx } from '../db/connect.ts';
import { codeOf, PurserError } from '../errors.ts';
import { unknownName } from '../names.ts';
import { dispatchChannel } from './dispatch.ts';
import { listJobTypes } from './registration.ts';

/** `name` is the job type or the tenant, and empty for everything. */
export interface PauseTarget {
  readonly scope: 'all' | 'job_type' | 'tenant';
  readonly name: string;
}

export interface Pause extends PauseTarget {
  readonly reason: string;
  readonly by: string;
  readonly at: Date;
  /** Jobs in a queue and running ones go back to waiting, too. */
  readonly stops: boolean;
}

const claimWaitMs = 5_000;
const claimPollMs = 50;
const foreignKeyViolation = '23503';

export interface PauseAnswer {
  /** The earlier pause of the same target. */
  readonly replaced: Pause | undefined;
  /** false: a claim that began before the pause is still open and may dispatch the jobs that it locked. */
  readonly claimsDrained: boolean;
}

/**
 * Adds a pause, or replaces the reason of one. `record` is run in the same transaction. Throws `unknown_job_type` or
 * `unknown_tenant`.
 */
export async function pauseWork(
  sql: Sql,
  pause: PauseTarget & Pick<Pause, 'reason' | 'by'>,
  record?: (tx: Tx, replaced: Pause | undefined) => Promise<void>,
): Promise<PauseAnswer> {
  let replaced: Pause | undefined;
  try {
    await sql.begin(async (tx) => {
      replaced = await addPause(tx, { ...pause, stops: false });
      await record?.(tx, replaced);
    });
  } catch (error) {
    throw codeOf(error) === foreignKeyViolation ? await unknownTarget(sql, pause, error) : error;
  }
  return { replaced, claimsDrained: await untilClaimsEnd(sql) };
}

/**
 * Returns the pause that it replaces; a stop stays a stop. Claims that are open may not see it: `untilClaimsEnd`, after
 * the commit. An unknown target fails by its foreign key.
 */
export async function addPause(
  tx: Tx,
  { scope, name, reason, by, stops }: Omit<Pause, 'at'>,
): Promise<Pause | undefined> {
  const added = await tx`
    insert into public.pauses (scope, name, reason, by, stops)
    values (${scope}, ${name}, ${reason}, ${by}, ${stops})
    on conflict (scope, name) do nothing returning scope`;
  if (added.length > 0) return undefined;
  const [replaced] = await tx<Pause[]>`
    select scope, name, reason, by, at, stops from public.pauses
    where scope = ${scope} and name = ${name} for update`;
  await tx`
    insert into public.pauses as p (scope, name, reason, by, stops)
    values (${scope}, ${name}, ${reason}, ${by}, ${stops})
    on conflict (scope, name) do update
      set reason = excluded.reason, by = excluded.by, at = excluded.at, stops = p.stops or excluded.stops`;
  return replaced;
}

/**
 * Removes a pause and returns it; undefined when there was none. Dispatchers hear of it, since nothing else wakes them
 * for jobs that wait. Throws like `pauseWork`.
 */
export async function resumeWork(sql: Queryable, target: PauseTarget): Promise<Pause | undefined> {
  const [pause] = await sql<Pause[]>`
    with resumed as (
      delete from public.pauses where scope = ${target.scope} and name = ${target.name}
      returning scope, name, reason, by, at, stops
    )
    select scope, name, reason, by, at, stops from resumed, pg_notify(${dispatchChannel}, '')`;
  if (pause === undefined) await assertKnown(sql, target);
  return pause;
}

/** Oldest first. */
export async function listPauses(sql: Queryable): Promise<Pause[]> {
  return sql<Pause[]>`
    select scope, name, reason, by, at, stops from public.pauses order by at, scope, name`;
}

/** Pauses that apply to jobs of this type and tenant, oldest first. */
export async function pausesOver(
  sql: Queryable,
  job: { readonly jobType: string; readonly tenantId: string },
): Promise<Pause[]> {
  return sql<Pause[]>`
    select scope, name, reason, by, at, stops from public.pauses
    where scope = 'all' or (scope = 'job_type' and name = ${job.jobType})
      or (scope = 'tenant' and name = ${job.tenantId})
    order by at, scope, name`;
}

/**
 * Whether every claim that had begun has ended, after at most `claimWaitMs`. It looks at their locks and takes none: a
 * lock that waits for them would hold up every later claim. Those see the pause already.
 */
export async function untilClaimsEnd(sql: Sql): Promise<boolean> {
  const untilMs = performance.now() + claimWaitMs;
  let open = await listOpenClaims(sql);
  while (open.length > 0) {
    if (performance.now() > untilMs) return false;
    await sleep(claimPollMs);
    const still = new Set(await listOpenClaims(sql));
    open = open.filter((claim) => still.has(claim));
  }
  return true;
}

/** Transactions in purser.dispatch_jobs, which locks the table in this mode. */
async function listOpenClaims(sql: Sql): Promise<string[]> {
  const rows = await sql<{ claim: string }[]>`
    select virtualtransaction as claim from pg_locks
    where relation = 'public.pauses'::regclass and mode = 'RowShareLock'
      and database = (select oid from pg_database where datname = current_database())`;
  return rows.map(({ claim }) => claim);
}

/** Throws `unknown_job_type` or `unknown_tenant`. */
export async function assertKnown(sql: Queryable, target: PauseTarget): Promise<void> {
  if (!(await isKnown(sql, target))) throw await unknownTarget(sql, target);
}

async function isKnown(sql: Queryable, { scope, name }: PauseTarget): Promise<boolean> {
  if (scope === 'all') return true;
  const found =
    scope === 'tenant'
      ? await sql`select from public.tenants where id = ${name}`
      : await sql`select from public.job_types where job_type = ${name}`;
  return found.length > 0;
}

async function unknownTarget(
  sql: Queryable,
  { scope, name }: PauseTarget,
  cause?: unknown,
): Promise<PurserError> {
  if (scope === 'tenant') {
    return new PurserError('unknown_tenant', unknownName('tenant', name), {
      cause,
      status: 404,
    });
  }
  const known = await listJobTypes(sql);
  return new PurserError(
    'unknown_job_type',
    `${unknownName('job_type', name)}; registered job types: ${known.join(', ')}`,
    { cause, status: 404 },
  );
}
