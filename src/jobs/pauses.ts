/**
 * Pauses: what dispatch hands nothing over of. Once `pauseWork` has answered, no claim from before is open
 * any more; what a queue holds already still runs.
 */
import type { Queryable, Sql } from '../db/connect.ts';
import { codeOf, PurserError } from '../errors.ts';
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
}

const claimsEndWithinMs = 5_000;
const foreignKeyViolation = '23503';
const lockNotAvailable = '55P03';

export interface PauseAnswer {
  /** The pause of the same target that this one replaced. */
  readonly before: Pause | undefined;
  /** false: a claim from before the pause is still open and may hand over what it took. */
  readonly settled: boolean;
}

/** Pauses, or gives a pause its new reason. Throws `unknown_job_type` or `unknown_tenant`. */
export async function pauseWork(
  sql: Sql,
  pause: PauseTarget & Pick<Pause, 'reason' | 'by'>,
): Promise<PauseAnswer> {
  const before = await findPause(sql, pause);
  try {
    await sql`
      insert into public.pauses (scope, name, reason, by)
      values (${pause.scope}, ${pause.name}, ${pause.reason}, ${pause.by})
      on conflict (scope, name) do update
        set reason = excluded.reason, by = excluded.by, at = excluded.at`;
  } catch (error) {
    throw codeOf(error) === foreignKeyViolation ? await unknownTarget(sql, pause, error) : error;
  }
  return { before, settled: await claimsHaveEnded(sql) };
}

/** Takes a pause off and returns it; undefined when there was none. Throws like `pauseWork`. */
export async function resumeWork(sql: Sql, target: PauseTarget): Promise<Pause | undefined> {
  const [pause] = await sql<Pause[]>`
    delete from public.pauses where scope = ${target.scope} and name = ${target.name}
    returning scope, name, reason, by, at`;
  if (pause === undefined) await assertKnown(sql, target);
  return pause;
}

/** Oldest first. */
export async function listPauses(sql: Queryable): Promise<Pause[]> {
  return sql<Pause[]>`
    select scope, name, reason, by, at from public.pauses order by at, scope, name`;
}

/** The pauses that hold back jobs of this type and tenant, oldest first. */
export async function pausesOver(
  sql: Queryable,
  job: { readonly jobType: string; readonly tenantId: string },
): Promise<Pause[]> {
  return sql<Pause[]>`
    select scope, name, reason, by, at from public.pauses
    where scope = 'all' or (scope = 'job_type' and name = ${job.jobType})
      or (scope = 'tenant' and name = ${job.tenantId})
    order by at, scope, name`;
}

export interface PausedNames {
  readonly all: boolean;
  readonly jobTypes: ReadonlySet<string>;
  readonly tenantIds: readonly string[];
}

/**
 * For a claim, inside its transaction. The lock is shared by every claim, and taken whole by who wants to see all
 * claims from before ended; an advisory one could be taken by any SQL, and no claim would go on. It is a statement
 * of its own: what is read after it is newer than any pause that waits for this claim to end.
 */
export async function pausesDuringClaim(tx: Queryable): Promise<PausedNames> {
  await tx`lock table public.pauses in row share mode`;
  const pauses = await tx<PauseTarget[]>`select scope, name from public.pauses`;
  const names = (scope: PauseTarget['scope']): string[] =>
    pauses.filter((pause) => pause.scope === scope).map(({ name }) => name);
  return {
    all: names('all').length > 0,
    jobTypes: new Set(names('job_type')),
    tenantIds: names('tenant'),
  };
}

async function claimsHaveEnded(sql: Sql): Promise<boolean> {
  try {
    await sql.begin(async (tx) => {
      await tx`select set_config('lock_timeout', ${String(claimsEndWithinMs)}, true)`;
      await tx`lock table public.pauses in exclusive mode`;
    });
    return true;
  } catch (error) {
    if (codeOf(error) === lockNotAvailable) return false;
    throw error;
  }
}

async function findPause(sql: Queryable, target: PauseTarget): Promise<Pause | undefined> {
  const [pause] = await sql<Pause[]>`
    select scope, name, reason, by, at from public.pauses
    where scope = ${target.scope} and name = ${target.name}`;
  return pause;
}

/** Throws `unknown_job_type` or `unknown_tenant` where there is none of that name. */
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
    return new PurserError('unknown_tenant', `there is no tenant ${JSON.stringify(name)}`, {
      cause,
      status: 404,
    });
  }
  const known = await listJobTypes(sql);
  return new PurserError(
    'unknown_job_type',
    `there is no job type ${JSON.stringify(name)}; the database knows ${known.join(', ')}`,
    { cause, status: 404 },
  );
}
