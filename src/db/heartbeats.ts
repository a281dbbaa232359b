/**
 * Heartbeat rows: health, capacity and metrics of every process, also of processes without an HTTP port. A process
 * is live while its last heartbeat is younger than 15 s.
 */
import type { Queryable } from './connect.ts';

/** Processes beat every 2 s; one whose last beat is older than this is not live. */
export const liveWithinMs = 15_000;

/** Facts about a process that do not change between heartbeats. */
export interface ProcessFacts extends Partial<KnownKeys> {
  readonly processId: string;
  readonly version: string;
  readonly hostname: string;
  readonly pid: number;
}

/** By key version, the mark of the key that the process has; and the version of its primary key. */
export interface KnownKeys {
  readonly knownKeys: Readonly<Record<string, string>>;
  readonly primaryVersion: number;
}

export interface Heartbeat extends ProcessFacts {
  readonly role: 'scheduler' | 'worker' | 'web';
  /** Job types that this process can run; empty for other roles. */
  readonly jobTypes: readonly string[];
  /** How many jobs of each type it runs at once; one number per job type. */
  readonly typeSlots: readonly number[];
  /** How long a job of each type runs, in milliseconds; null where that is not known. Default: of none. */
  readonly typeRunMs?: readonly (number | null)[];
  /** Maximum number of jobs that it runs at once, of all types together. */
  readonly slots: number;
  readonly running: number;
  /** Time of its last unit of work (a claim, a begun job, or a check that found no work). */
  readonly progressedAt: Date;
  /** prom-client's JSON form. */
  readonly metrics: readonly object[];
  /** Of a worker that takes no new jobs. Default: it takes some. */
  readonly drain?: DrainReport | undefined;
}

/** An operator's wish that a worker takes no new jobs. */
export interface DrainRequest {
  readonly by: string;
  readonly reason: string | null;
  readonly at: string;
}

export interface DrainReport {
  /** empty: it has no job, and takes none. */
  readonly state: 'draining' | 'empty';
  /** Stored again where the row was removed meanwhile. */
  readonly request: DrainRequest;
}

export interface WrittenHeartbeat {
  readonly mark: BeatMark;
  /** null: no drain is wished for. */
  readonly drainRequested: DrainRequest | null;
}

/** A committed heartbeat: only the database that has it knows it. */
export interface BeatMark {
  readonly processId: string;
  readonly beatAt: string;
  readonly database: string;
}

/** Stores what a process says of itself, and answers with what operators wish of it. */
export async function writeHeartbeat(sql: Queryable, beat: Heartbeat): Promise<WrittenHeartbeat> {
  const { drain } = beat;
  const [row] = await sql<(BeatMark & Pick<WrittenHeartbeat, 'drainRequested'>)[]>`
    insert into public.heartbeats as h
      (process_id, role, version, hostname, pid, job_types, type_slots, type_run_ms, slots, running, progressed_at,
       metrics, known_keys, primary_key_version, process_clock_at, drain_state, drain_requested)
    values (${beat.processId}, ${beat.role}, ${beat.version}, ${beat.hostname}, ${beat.pid},
      ${[...beat.jobTypes]}::text[], ${[...beat.typeSlots]}::int[],
      ${[...(beat.typeRunMs ?? [])]}::real[], ${beat.slots}, ${beat.running},
      now() - ${Math.max(0, Date.now() - beat.progressedAt.getTime())} * interval '1 millisecond',
      ${JSON.stringify(beat.metrics)}::text::jsonb, ${JSON.stringify(beat.knownKeys ?? {})}::text::jsonb,
      ${beat.primaryVersion ?? null}, ${new Date()}, ${drain?.state ?? null},
      ${drain === undefined ? null : JSON.stringify(drain.request)}::text::jsonb)
    on conflict (process_id) do update set
      beat_at = now(), slots = excluded.slots, running = excluded.running, job_types = excluded.job_types,
      type_slots = excluded.type_slots, type_run_ms = excluded.type_run_ms,
      progressed_at = excluded.progressed_at, metrics = excluded.metrics,
      known_keys = excluded.known_keys, primary_key_version = excluded.primary_key_version,
      process_clock_at = excluded.process_clock_at, drain_state = excluded.drain_state
    returning process_id as "processId", beat_at::text as "beatAt", current_database() as database,
              drain_requested as "drainRequested"`;
  if (row === undefined) throw new Error('a heartbeat returned no row');
  const { drainRequested, ...mark } = row;
  return { mark, drainRequested };
}

/** Wishes that these workers take no new jobs, or withdraws that. Returns those for which this changed something. */
export async function requestDrain(
  sql: Queryable,
  processIds: readonly string[],
  request: { readonly by: string; readonly reason: string | null } | null,
): Promise<string[]> {
  const rows = await sql<{ processId: string }[]>`
    update public.heartbeats
    set drain_requested = ${request === null ? null : JSON.stringify(request)}::text::jsonb
          || jsonb_build_object('at', now()),
        drain_state = null
    where role = 'worker' and process_id = any(${processIds}::text[])
      and (drain_requested is null) = ${request !== null}
    returning process_id as "processId"`;
  return rows.map(({ processId }) => processId);
}

/** false: it was written to another database, such as a copy, or its row is gone. */
export async function knowsHeartbeat(
  sql: Queryable,
  { processId, beatAt }: Pick<BeatMark, 'processId' | 'beatAt'>,
): Promise<boolean> {
  const rows = await sql`
    select from public.heartbeats
    where process_id = ${processId} and beat_at >= ${beatAt}::text::timestamptz`;
  return rows.length > 0;
}

/**
 * Returns a function that keeps in the heartbeat row of a process since when the queue store has not answered it. It
 * writes when an answer fails, and when one comes after a failure.
 */
export function queueStoreSight(
  sql: Queryable,
  processId: string,
): (isAway: boolean) => Promise<void> {
  let wasAway = false;
  return async (isAway) => {
    if (!isAway && !wasAway) return;
    await writeQueueStoreSight(sql, processId, isAway);
    wasAway = isAway;
  };
}

async function writeQueueStoreSight(
  sql: Queryable,
  processId: string,
  isAway: boolean,
): Promise<void> {
  await sql`
    update public.heartbeats set
      queue_store_away_since = case when ${isAway} then coalesce(queue_store_away_since, now()) end,
      queue_store_away_at = case when ${isAway} then now() end
    where process_id = ${processId}`;
}

/** Called at an orderly shutdown. */
export async function removeHeartbeat(sql: Queryable, processId: string): Promise<void> {
  await sql`delete from public.heartbeats where process_id = ${processId}`;
}

/** Rows of processes whose last heartbeat is younger than `withinMs`. */
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

export interface ProcessClock {
  readonly processId: string;
  /** How far the process's clock is ahead of the database's; negative if behind. */
  readonly aheadMs: number;
}

/** Clocks of the processes whose last heartbeat is younger than `withinMs`, as of that heartbeat. */
export async function listProcessClocks(sql: Queryable, withinMs: number): Promise<ProcessClock[]> {
  return sql<ProcessClock[]>`
    select process_id as "processId",
           (extract(epoch from process_clock_at - beat_at) * 1000)::float8 as "aheadMs"
    from public.heartbeats
    where process_clock_at is not null and beat_at > now() - ${withinMs} * interval '1 millisecond'
    order by process_id`;
}

export interface TypeSlots {
  readonly slots: number;
  /** Live workers that run the type. */
  readonly workers: number;
  /** How long a job of the type runs, in milliseconds; null: not known. */
  readonly runMs: number | null;
}

/** What live workers report per job type, without those that drain. A type that no live worker runs is absent. */
export async function fleetSlots(
  sql: Queryable,
  withinMs: number,
): Promise<Map<string, TypeSlots>> {
  const rows = await sql<({ jobType: string } & TypeSlots)[]>`
    select t.job_type as "jobType", sum(t.slots)::int as slots, count(*)::int as workers,
           avg(t.run_ms)::float8 as "runMs"
    from public.heartbeats h
    cross join lateral unnest(h.job_types, h.type_slots, h.type_run_ms) t (job_type, slots, run_ms)
    where role = 'worker' and drain_requested is null
      and beat_at > now() - ${withinMs} * interval '1 millisecond'
    group by t.job_type`;
  return new Map(rows.map(({ jobType, ...facts }) => [jobType, facts]));
}

/** Removes rows whose last heartbeat is older than `olderThanMs`. */
export async function removeOldHeartbeats(sql: Queryable, olderThanMs: number): Promise<number> {
  const removed = await sql`
    delete from public.heartbeats where beat_at < now() - ${olderThanMs} * interval '1 millisecond'`;
  return removed.count;
}
