/** What the heartbeats say: which schedulers and workers live, what they run, who fell silent, and who reaches the queue store. */
import { liveWithinMs } from '../../db/heartbeats.ts';
import type { Queryable } from '../../db/connect.ts';
import { purserCommand } from '../shell-text.ts';
import { lengthText, namesText } from './cause.ts';
import type { Cause } from './cause.ts';

interface Process {
  readonly processId: string;
  readonly role: 'scheduler' | 'worker';
  readonly hostname: string;
  readonly jobTypes: readonly string[];
  readonly typeSlots: readonly number[];
  readonly slots: number;
  readonly running: number;
  readonly beatAgoMs: number;
  /** null: the queue store answers it. */
  readonly storeAwayMs: number | null;
  readonly isDraining: boolean;
}

export interface Processes {
  readonly schedulers: readonly Process[];
  /** Those that take jobs. */
  readonly workers: readonly Process[];
  readonly draining: readonly Process[];
  /** Workers whose heartbeats stopped within the last hour without an orderly end. */
  readonly silent: readonly Process[];
}

/** A worker that cannot reach the queue store does not beat, but says so. */
export async function readProcesses(sql: Queryable): Promise<Processes> {
  const rows = await sql<Process[]>`
    select process_id as "processId", role, hostname, drain_requested is not null as "isDraining", job_types as "jobTypes", type_slots as "typeSlots", slots, running,
      (extract(epoch from now() - greatest(beat_at, queue_store_away_at)) * 1000)::float8 as "beatAgoMs",
      case when queue_store_away_at > now() - ${liveWithinMs} * interval '1 millisecond'
        then (extract(epoch from now() - queue_store_away_since) * 1000)::float8 end as "storeAwayMs"
    from public.heartbeats where role in ('scheduler', 'worker') order by process_id`;
  const lives = ({ beatAgoMs }: Process): boolean => beatAgoMs < liveWithinMs;
  const workers = rows.filter(({ role }) => role === 'worker');
  return {
    schedulers: rows.filter((row) => row.role === 'scheduler' && lives(row)),
    workers: workers.filter((row) => lives(row) && !row.isDraining),
    draining: workers.filter((row) => lives(row) && row.isDraining),
    silent: workers.filter((row) => !lives(row)),
  };
}

export const runs =
  (jobType: string) =>
  ({ jobTypes }: Process): boolean =>
    jobTypes.includes(jobType);

export interface TypeSlots {
  readonly workers: number;
  readonly slots: number;
  /** Of any type: a slot can be of use to several types. */
  readonly freeSlots: number;
}

export function slotsOf({ workers }: Processes, jobType: string): TypeSlots {
  const serving = workers.filter(runs(jobType));
  const sum = (of: (worker: Process) => number): number =>
    serving.reduce((total, worker) => total + of(worker), 0);
  return {
    workers: serving.length,
    slots: sum(({ jobTypes, typeSlots }) => typeSlots[jobTypes.indexOf(jobType)] ?? 0),
    freeSlots: sum(({ slots, running }) => Math.max(0, slots - running)),
  };
}

/** No scheduler lives: nothing is dispatched, woken or rescued. */
export function schedulerCauses({ schedulers }: Processes): Cause[] {
  if (schedulers.length > 0) return [];
  return [
    {
      code: 'no_scheduler',
      says: 'no scheduler lives, so no waiting job is dispatched, woken or rescued',
      lift: purserCommand('start', 'scheduler'),
      facts: {},
    },
  ];
}

/** The queue store answers none of these processes. */
export function storeCauses(processes: readonly Process[]): Cause[] {
  const ages = processes.map(({ storeAwayMs }) => storeAwayMs).filter((age) => age !== null);
  if (ages.length === 0 || ages.length < processes.length) return [];
  const awayMs = Math.max(...ages);
  const names = processes.map(({ processId }) => processId);
  return [
    {
      code: 'queue_store_away',
      says: `the queue store has not answered ${namesText(names)} for ${lengthText(awayMs)}; jobs are safe in the database and wait there`,
      lift: purserCommand('doctor'),
      facts: { awayMs: Math.round(awayMs), processes: names },
    },
  ];
}

/** No worker lives, or none that runs the type; then it says what the living ones run. */
export function workerCauses({ workers, draining }: Processes, jobType?: string): Cause[] {
  const drained = draining.filter((worker) => jobType === undefined || runs(jobType)(worker));
  const [first] = drained;
  if (first !== undefined && !workers.some((row) => jobType === undefined || runs(jobType)(row))) {
    const names = namesText(drained.map(({ processId }) => processId));
    return [
      {
        code: 'workers_draining',
        says: `every worker that would run it takes no new jobs, because it drains: ${names}`,
        lift: purserCommand('drain', drained.length > 1 ? '--all' : first.processId, '--undo'),
        facts: { workers: drained.map(({ processId }) => processId) },
      },
    ];
  }
  if (workers.length === 0) {
    return [
      {
        code: 'no_worker',
        says: 'no worker lives',
        lift: purserCommand('start', 'worker'),
        facts: {},
      },
    ];
  }
  if (jobType === undefined || workers.some(runs(jobType))) return [];
  const running = [...new Set(workers.flatMap(({ jobTypes }) => jobTypes))].toSorted();
  const others = running.length === 0 ? 'no type at all' : namesText(running);
  return [
    {
      code: 'no_worker_for_type',
      says: `no live worker runs jobs of ${jobType}; the ${workers.length} that live run ${others}`,
      lift: `PURSER_HANDLERS=FILE ${purserCommand('start', 'worker')}`,
      facts: { jobType, workers: workers.length, running },
    },
  ];
}

/** These fell silent. What they hold goes back when its leases, and the locks of its queue entries, have run out. */
export function silentCauses(gone: readonly Process[]): Cause[] {
  return gone.map(({ processId, hostname, beatAgoMs }) => ({
    code: 'worker_silent',
    says: `worker ${processId} on ${hostname} fell silent ${lengthText(beatAgoMs)} ago; what it holds goes back when the leases and its queue entries have run out`,
    lift: purserCommand('start', 'worker'),
    facts: { worker: processId, hostname, silentMs: Math.round(beatAgoMs) },
  }));
}
