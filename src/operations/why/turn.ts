/**
 * The place of a waiting job among those of its type, and how long that takes at the rate at which the type's jobs ended
 * lately. Nothing is counted beyond 1,000: the cost does not grow with what waits.
 */
import type { Queryable } from '../../db/connect.ts';
import { purserCommand } from '../shell-text.ts';
import { lengthText } from './cause.ts';
import type { Cause } from './cause.ts';
import type { JobPlace } from './place.ts';

const mostCounted = 1_000;
const mostGroups = 50;
/** Ended attempts that the rate is taken from, of the last ten minutes. */
const recentAttempts = 2_000;

interface Ahead {
  /** Jobs that come before it if the other tenants have their turn next. */
  readonly most: number;
  /** The same if the next turn is its tenant's. */
  readonly least: number;
  readonly tenants: number;
  /** Since when the one waits that has been due for longest among those that are first in line. */
  readonly oldestDueAt: Date | null;
  readonly queued: number;
  readonly endedPerSecond: number;
}

/** A job that is first and may start is dispatched within seconds. */
const stuckAfterMs = 60_000;

/** `mayStart`: nothing holds it, and a worker has a free slot. */
export async function turnCause(sql: Queryable, job: JobPlace, mayStart: boolean): Promise<Cause> {
  const ahead = await readAhead(sql, job);
  const { endedPerSecond, oldestDueAt, tenants, queued } = ahead;
  const most = Math.min(mostCounted, ahead.most + queued);
  const isCut = most >= mostCounted;
  const place = isCut ? '1,000+' : String(most + 1);
  const wait = waitOf(ahead, isCut);
  const first =
    oldestDueAt === null
      ? ''
      : `, the oldest of those first in line since ${oldestDueAt.toISOString()}`;
  const expected =
    wait === undefined
      ? 'none of the type ended lately, so nobody knows how long that takes'
      : `at the rate of the last minutes that takes ${
          wait.toMs === null
            ? `at least ${lengthText(wait.fromMs)}`
            : `${lengthText(wait.fromMs)} to ${lengthText(wait.toMs)}`
        }`;
  const of =
    tenants > mostCounted ? '1,000+ tenants' : `${tenants} tenant${tenants === 1 ? '' : 's'}`;
  const isStuck = mayStart && most === 0 && job.dueInMs < -stuckAfterMs;
  const stuck = isStuck
    ? '; it should have been dispatched long ago: see the log of the scheduler, and sessions that lock its rows'
    : '';
  return {
    code: 'turn',
    says: `it waits its turn: place ${place} among the jobs of ${of}${first}; ${expected}${stuck}`,
    lift: isStuck ? purserCommand('doctor') : null,
    facts: {
      place,
      tenants,
      queued,
      oldestDueAt: oldestDueAt?.toISOString() ?? null,
      endedPerSecond: Number(endedPerSecond.toFixed(3)),
      waitFromMs: wait?.fromMs ?? null,
      waitToMs: wait?.toMs ?? null,
    },
  };
}

/** Half to twice of what the rate says. */
function waitOf(
  { least, most, queued, endedPerSecond }: Ahead,
  isCut: boolean,
): { fromMs: number; toMs: number | null } | undefined {
  if (endedPerSecond === 0) return undefined;
  const msOf = (jobs: number): number => Math.round(((jobs + 1) / endedPerSecond) * 1_000);
  return {
    fromMs: Math.round(msOf(least + queued) / 2),
    toMs: isCut ? null : 2 * msOf(most + queued),
  };
}

async function readAhead(sql: Queryable, job: JobPlace): Promise<Ahead> {
  const { jobId, jobType, tenantId, group, priority, scheduledFor } = job;
  const inLine = sql`order by b.job_type, b.tenant_id, b.group_name, purser.rank_of(b.priority, b.scheduled_for), b.job_id`;
  const [ahead] = await sql<Ahead[]>`
    with lane as (
      select '' as name
      union select ${group}::text
      union select g from unnest(purser.groups_in_turn(${jobType}, ${tenantId}, '', ${mostGroups})) g
    ), own as materialized (
      select count(*)::int as jobs from (
        select b.job_id from lane l cross join lateral (
          select b.job_id from purser.waiting b
          where b.job_type = ${jobType} and b.tenant_id = ${tenantId} and b.group_name = l.name
            and (purser.rank_of(b.priority, b.scheduled_for), b.job_id)
              < (purser.rank_of(${priority}, ${scheduledFor}), ${jobId}::bigint)
          ${inLine} limit ${mostCounted}) b
        limit ${mostCounted}) b
    ), turns as materialized (
      select ceil((o.jobs + 1) / coalesce(t.weight, p.weight)::numeric)::int as laps, o.jobs
      from own o cross join public.tenants t join public.plans p on p.plan = t.plan where t.id = ${tenantId}
    ), other as materialized (
      select t.id from purser.tenants_in_turn(${jobType}, '', null,
        array(select p.name from public.pauses p where p.scope = 'tenant') || ${tenantId}::text, ${mostCounted}, false,
        null, '{}', 1) n
      cross join lateral unnest(n.tenant_ids) t (id)
    ), weighed as materialized (
      select o.id, coalesce(t.weight, p.weight) as weight
      from other o join public.tenants t on t.id = o.id join public.plans p on p.plan = t.plan
    ), recent as materialized (
      select h.job_id, h.ended_at from (
        select * from purser.job_history order by id desc limit ${recentAttempts}) h
      where h.started_at is not null and h.ended_at > now() - interval '10 minutes'
    )
    select least(${mostCounted}, t.jobs + (
        select count(*) from (select from weighed w cross join lateral (
          select from purser.waiting b where b.job_type = ${jobType} and b.tenant_id = w.id limit t.laps * w.weight) b
        limit ${mostCounted}) c))::int as most,
      least(${mostCounted}, t.jobs + (
        select count(*) from (select from weighed w cross join lateral (
          select from purser.waiting b where b.job_type = ${jobType} and b.tenant_id = w.id
          limit (t.laps - 1) * w.weight) b
        limit ${mostCounted}) c))::int as least,
      (select count(*)::int + 1 from other) as tenants,
      (select min(b.scheduled_for) from (select id from other union all select ${tenantId}) o cross join lateral (
        select b.scheduled_for from purser.waiting b where b.job_type = ${jobType} and b.tenant_id = o.id
        ${inLine} limit 1) b) as "oldestDueAt",
      (select count(*)::int from purser.in_flight f where f.job_type = ${jobType} and f.token is null) as queued,
      coalesce((select count(*) filter (where j.job_type = ${jobType})
          / greatest(1, extract(epoch from clock_timestamp() - min(r.ended_at)))
        from recent r join public.jobs j on j.id = r.job_id), 0)::float8 as "endedPerSecond"
    from turns t`;
  return (
    ahead ?? { most: 0, least: 0, tenants: 1, oldestDueAt: null, queued: 0, endedPerSecond: 0 }
  );
}
