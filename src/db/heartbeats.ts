/**
 * Heartbeat rows: what a process without a port has to say about its health, capacity and metrics.
 */
import type { Queryable } from './connect.ts';

/** What a process says of itself, the same in every beat. */
export interface ProcessFacts extends Partial<KnownKeys> {
  readonly processId: string;
  readonly version: string;
  readonly hostname: string;
  readonly pid: number;
}

/** By key version, the mark of the key that the process knows; and the version that it would write with. */
export interface KnownKeys {
  readonly knownKeys: Readonly<Record<string, string>>;
  readonly primaryVersion: number;
}

export interface Heartbeat extends ProcessFacts {
  readonly role: 'scheduler' | 'worker' | 'web';
  /** Job types that this process can run; empty for other roles. */
  readonly jobTypes: readonly string[];
  /** How many of each of them it runs at once; as many numbers as job types. */
  readonly typeSlots: readonly number[];
  /** Jobs that it can run at once, of all types together. */
  readonly slots: number;
  readonly running: number;
  /** When it last did what it is for (claimed, began or found nothing to do). */
  readonly progressedAt: Date;
  /** prom-client's JSON form. */
  readonly metrics: readonly object[];
}

export async function writeHeartbeat(sql: Queryable, beat: Heartbeat): Promise<void> {
  await sql`
    insert into public.heartbeats as h
      (process_id, role, version, hostname, pid, job_types, type_slots, slots, running, progressed_at,
       metrics, known_keys, primary_key_version)
    values (${beat.processId}, ${beat.role}, ${beat.version}, ${beat.hostname}, ${beat.pid},
      ${[...beat.jobTypes]}::text[], ${[...beat.typeSlots]}::int[], ${beat.slots}, ${beat.running}, ${beat.progressedAt},
      ${JSON.stringify(beat.metrics)}::text::jsonb, ${JSON.stringify(beat.knownKeys ?? {})}::text::jsonb,
      ${beat.primaryVersion ?? null})
    on conflict (process_id) do update set
      beat_at = now(), slots = excluded.slots, running = excluded.running, job_types = excluded.job_types,
      type_slots = excluded.type_slots,
      progressed_at = excluded.progressed_at, metrics = excluded.metrics,
      known_keys = excluded.known_keys, primary_key_version = excluded.primary_key_version`;
}

/** A process that leaves in order takes its row with it. */
export async function removeHeartbeat(sql: Queryable, processId: string): Promise<void> {
  await sql`delete from public.heartbeats where process_id = ${processId}`;
}

/** Rows of processes that beat within the last `withinMs`. */
export async function listHeartbeats(
  sql: Queryable,
  withinMs: number,
): Promise<(Heartbeat & { beatAt: Date })[]> {
  return sql<(Heartbeat & { beatAt: Date })[]>`
    select process_id as "processId", role, version, hostname, pid, job_types as "jobTypes",
           type_slots as "typeSlots", slots, running,
           progressed_at as "progressedAt", metrics, beat_at as "beatAt"
    from public.heartbeats where beat_at > now() - ${withinMs} * interval '1 millisecond'
    order by role, process_id`;
}

/** Slots of the living workers per job type: a type that nobody runs is missing. */
export async function fleetSlots(sql: Queryable, withinMs: number): Promise<Map<string, number>> {
  const rows = await sql<{ jobType: string; slots: number }[]>`
    select t.job_type as "jobType", sum(t.slots)::int as slots
    from public.heartbeats h cross join lateral unnest(h.job_types, h.type_slots) t (job_type, slots)
    where role = 'worker' and beat_at > now() - ${withinMs} * interval '1 millisecond'
    group by t.job_type`;
  return new Map(rows.map(({ jobType, slots }) => [jobType, slots]));
}

/** Removes rows of processes that died long ago. */
export async function removeOldHeartbeats(sql: Queryable, olderThanMs: number): Promise<number> {
  const removed = await sql`
    delete from public.heartbeats where beat_at < now() - ${olderThanMs} * interval '1 millisecond'`;
  return removed.count;
}
