/**
 * Whether jobs move: the last dispatch, the last end of an attempt, and the job types whose jobs stand still. All
 * times are those of the database's clock.
 */
import type { Queryable } from '../db/connect.ts';

export interface FlowOptions {
  /** A process is live while its last heartbeat is younger than this. */
  readonly heartbeatMaxAgeMs: number;
  /** Due jobs of a type may stand still for this long. */
  readonly stalledAfterMs: number;
  /** The same of a type that no live worker runs. Default: `stalledAfterMs`. */
  readonly unservedAfterMs?: number | undefined;
}

export interface Flow {
  readonly lastDispatchAt: Date | null;
  /** End of the last attempt, whatever its outcome. */
  readonly lastEndAt: Date | null;
  /** Job types with due or queued jobs that no live worker runs. */
  readonly withoutWorker: readonly string[];
  /** Job types with due jobs that are not dispatched, although at most one job per worker slot is queued. */
  readonly notDispatched: readonly string[];
  /** Job types with queued jobs that are not begun, although a live worker has a free slot for them. */
  readonly notBegun: readonly string[];
}

/** Rows of the history that are read for the last begin and the last end. */
const recentAttempts = 10_000;

interface TypeRow {
  jobType: string;
  /** Of live workers; 0 without one. */
  slots: number;
  /** Free slots of live workers that run this type; a slot can be of use to several types. */
  freeSlots: number;
  due: boolean;
  queued: number;
  running: number;
  waitsInQueue: boolean;
  /** One of its jobs was dispatched lately. */
  dispatched: boolean;
  /** One of them has begun lately. */
  begun: boolean;
}

interface RecentRow {
  lastDispatchAt: Date | null;
  lastEndAt: Date | null;
}

/** Job types and tenants that are paused, and what is at a limit, do not count. */
export async function readFlow(sql: Queryable, options: FlowOptions): Promise<Flow> {
  const [recent] = await sql<RecentRow[]>`
    with recent as (
      select started_at, ended_at from purser.job_history order by id desc limit ${recentAttempts}
    )
    select (select max(dispatched_at) from purser.dispatch_turns) as "lastDispatchAt",
           (select max(ended_at) from recent where started_at is not null) as "lastEndAt"`;
  const types = await readTypes(sql, options);
  const names = (standing: (type: TypeRow) => boolean): string[] =>
    types.filter(standing).map(({ jobType }) => jobType);
  return {
    lastDispatchAt: recent?.lastDispatchAt ?? null,
    lastEndAt: recent?.lastEndAt ?? null,
    withoutWorker: names(({ due, waitsInQueue, slots }) => (due || waitsInQueue) && slots === 0),
    // Per type: one that stands still is not hidden by another.
    notDispatched: names(
      ({ dispatched, due, slots, queued }) => !dispatched && due && slots > 0 && queued <= slots,
    ),
    notBegun: names(
      ({ waitsInQueue, freeSlots, running, slots, begun }) =>
        !begun && waitsInQueue && freeSlots > 0 && running < slots,
    ),
  };
}

async function readTypes(
  sql: Queryable,
  { heartbeatMaxAgeMs, stalledAfterMs, unservedAfterMs = stalledAfterMs }: FlowOptions,
): Promise<TypeRow[]> {
  return sql<TypeRow[]>`
    with worker as (
      select t.job_type, sum(t.slots)::int as slots, sum(greatest(0, h.slots - h.running))::int as free_slots
      from public.heartbeats h cross join lateral unnest(h.job_types, h.type_slots) t (job_type, slots)
      where h.role = 'worker' and h.drain_requested is null and h.beat_at > now() - ${heartbeatMaxAgeMs} * interval '1 millisecond'
      group by t.job_type
    ), in_flight as (
      select job_type, count(*) filter (where token is null)::int as queued,
             count(*) filter (where token is not null)::int as running,
             min(queued_at) filter (where token is null) as queued_since
      from purser.in_flight group by job_type
    ), begun as (
      select f.job_type from purser.in_flight f
      where f.started_at > now() - ${stalledAfterMs} * interval '1 millisecond'
      union
      select j.job_type
      from (select job_id, started_at from purser.job_history order by id desc limit ${recentAttempts}) h
      join public.jobs j on j.id = h.job_id
      where h.started_at > now() - ${stalledAfterMs} * interval '1 millisecond'
        and j.job_type in (select job_type from in_flight)
    )
    select t.job_type as "jobType", coalesce(w.slots, 0) as slots, coalesce(w.free_slots, 0) as "freeSlots",
           coalesce(f.queued, 0) as queued, coalesce(f.running, 0) as running,
           coalesce(f.queued_since <= now() - allowed.still, false) as "waitsInQueue",
           exists (select from begun b where b.job_type = t.job_type) as begun,
           coalesce(d.dispatched_at > now() - ${stalledAfterMs} * interval '1 millisecond', false) as dispatched,
           not exists (
             select from public.job_limits l
             where l.tenant_id = '' and l.job_type = t.job_type and (
               l.max_running <= (
                 select count(*) from purser.in_flight i where i.limited and i.job_type = t.job_type)
               or l.max_starts is not null and (
                 select f.free from purser.free_starts('', t.job_type, '', l.max_starts, l.per_seconds, '{}', 1) f) = 0)
           ) and exists (
             select from public.tenants n
             cross join lateral purser.room_of_tenant(n.id, t.job_type, null, '{}', 1) r
             where coalesce(r.room > 0, true)
               and not exists (select from public.pauses p where p.scope = 'tenant' and p.name = n.id)
               and exists (
                 select from purser.waiting w
                 where w.job_type = t.job_type and w.tenant_id = n.id and w.group_name = ''
                   and w.scheduled_for <= now() - allowed.still
                 union all
                 select from purser.later l
                 where l.job_type = t.job_type and l.tenant_id = n.id
                   and l.scheduled_for <= now() - allowed.still
               )
             union all
             -- In groups that their limits let start some, of a hundred tenants.
             select from purser.lanes_of_tenants(t.job_type, case when exists (
                 select from purser.waiting w where w.job_type = t.job_type and w.group_name <> '')
               then (
                 select n.tenant_ids from purser.tenants_in_turn(t.job_type, '', null,
                   array(select p.name from public.pauses p where p.scope = 'tenant'), 100, true, null, '{}', 1) n)
               end, 50, true, '{}', '{}', 1) l
             where l.group_name <> '' and coalesce(least(l.room, l.shared_room) > 0, true) and exists (
               select from purser.waiting w
               where w.job_type = t.job_type and w.tenant_id = l.tenant_id and w.group_name = l.group_name
                 and w.scheduled_for <= now() - allowed.still)
           ) as due
    from public.job_types t
    left join worker w on w.job_type = t.job_type
    left join in_flight f on f.job_type = t.job_type
    left join purser.dispatch_turns d on d.job_type = t.job_type
    cross join lateral (
      select case when w.job_type is null then ${unservedAfterMs}::float8 else ${stalledAfterMs} end
        * interval '1 millisecond' as still) allowed
    where not exists (
      select from public.pauses p where p.scope = 'all' or (p.scope = 'job_type' and p.name = t.job_type))
    order by t.job_type`;
}
