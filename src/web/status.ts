/**
 * Whether the fleet works: both stores accept writes, a scheduler and a worker are live, and jobs move. The result
 * is public: it names parts, reasons and stopped queues; details go to the log and to `purser doctor`.
 */
import type { Database } from '../db/database.ts';
import { listHeartbeats, liveWithinMs } from '../db/heartbeats.ts';
import { probeDatabaseWrite } from '../db/write-probe.ts';
import { PurserError } from '../errors.ts';
import { readFlow } from '../jobs/flow.ts';
import type { Flow } from '../jobs/flow.ts';
import type { Logger } from '../log.ts';
import type { QueueBackend } from '../queues/backend.ts';
import { readQueueStops } from '../queues/stops.ts';
import type { QueueStop } from '../queues/stops.ts';
import type { Transport } from '../queues/transport.ts';
import { shared, within } from './time-limit.ts';

export interface Problem {
  readonly part:
    | 'postgres'
    | 'queue_store'
    | 'queue'
    | 'scheduler'
    | 'worker'
    | 'job_types'
    | 'dispatch';
  readonly reason:
    | QueueStop['cause']
    | 'not_reachable'
    | 'no_answer'
    | 'read_only'
    | 'refuses_writes'
    | 'none_live'
    | 'no_worker'
    | 'stalled';
  /** Of the part `queue`: its name, and the command that lets it run. */
  readonly queue?: string;
  readonly fix?: string;
}

export interface FleetStatus {
  /** false: jobs do not run, or only some of them. */
  readonly working: boolean;
  readonly problems: readonly Problem[];
  /** null: none yet, or the database cannot be read. */
  readonly lastDispatchAt: Date | null;
  readonly lastEndAt: Date | null;
}

export interface FleetStatusOptions {
  readonly database: Pick<Database, 'system'>;
  readonly backend: Pick<QueueBackend, 'probeWrite' | 'damagedKeys'>;
  readonly transport: Pick<Transport, 'queue'>;
  readonly jobTypes: () => Promise<readonly string[]>;
  readonly log: Logger;
  /** Due jobs may stand still for this long. Default 60 s. */
  readonly stalledAfterMs?: number | undefined;
}

const defaultStalledAfterMs = 60_000;
const answerMs = 5_000;
const keepMs = 1_000;

/** Returns a function that reads the status, at most once a second. It never throws. */
export function createFleetStatus(options: FleetStatusOptions): () => Promise<FleetStatus> {
  let logged = '';
  return shared(keepMs, async () => {
    const { status, details } = await readFleetStatus(options);
    const problems = status.problems.map(textOf).join(', ');
    if (problems !== logged) {
      if (status.working) options.log.info('fleet_working_again');
      else options.log.warn({ problems, ...details }, 'fleet_not_working');
    }
    logged = problems;
    return status;
  });
}

const textOf = ({ part, reason, queue }: Problem): string =>
  `${part}${queue === undefined ? '' : ` ${queue}`}: ${reason}`;

interface FleetReport {
  readonly status: FleetStatus;
  readonly details: {
    readonly databaseError?: unknown;
    readonly queueStoreError?: unknown;
    readonly flow?: Flow;
    readonly stops?: readonly QueueStop[];
  };
}

/** Reads the status once, with what is behind it. Never throws. */
async function readFleetStatus(options: FleetStatusOptions): Promise<FleetReport> {
  const { backend } = options;
  const sql = options.database.system;
  const [databaseError, probeError, fleet, queues] = await Promise.all([
    errorOf(() => probeDatabaseWrite(sql)),
    errorOf(() => backend.probeWrite()),
    within(answerMs, readFleet(options)).catch((error: unknown) => ({ error })),
    within(answerMs, readStops(options)).catch((error: unknown) => ({ error })),
  ]);
  const stops = 'error' in queues ? [] : queues;
  const queueStoreError = probeError ?? ('error' in queues ? queues.error : undefined);
  const problems: Problem[] = [];
  const unreadable = 'error' in fleet ? fleet.error : undefined;
  const database = databaseError ?? unreadable;
  if (database !== undefined) problems.push({ part: 'postgres', reason: reasonOf(database) });
  if (queueStoreError !== undefined) {
    problems.push({ part: 'queue_store', reason: reasonOf(queueStoreError) });
  }
  for (const { queue, cause: reason, fix } of stops) {
    problems.push({ part: 'queue', reason, queue, fix });
  }
  const flow = 'error' in fleet ? undefined : fleet.flow;
  if (!('error' in fleet)) problems.push(...problemsOf(fleet));
  return {
    status: {
      working: problems.length === 0,
      problems,
      lastDispatchAt: flow?.lastDispatchAt ?? null,
      lastEndAt: flow?.lastEndAt ?? null,
    },
    details: {
      ...(database === undefined ? {} : { databaseError: database }),
      ...(queueStoreError === undefined ? {} : { queueStoreError }),
      ...(flow === undefined ? {} : { flow }),
      ...(stops.length === 0 ? {} : { stops }),
    },
  };
}

interface Fleet {
  readonly flow: Flow;
  readonly schedulers: number;
  readonly workers: number;
}

/** A limit that lets jobs run is no fault. */
async function readStops(options: FleetStatusOptions): Promise<QueueStop[]> {
  const stops = await readQueueStops(options, await options.jobTypes());
  return stops.filter(({ stands }) => stands);
}

async function readFleet(options: FleetStatusOptions): Promise<Fleet> {
  const { stalledAfterMs = defaultStalledAfterMs } = options;
  return options.database.system.begin(async (tx) => {
    await tx`select set_config('statement_timeout', ${String(answerMs)}, true)`;
    const live = await listHeartbeats(tx, liveWithinMs);
    return {
      flow: await readFlow(tx, {
        heartbeatMaxAgeMs: liveWithinMs,
        stalledAfterMs,
        // No longer than it takes to see that the last worker of the type is gone.
        unservedAfterMs: Math.min(stalledAfterMs, liveWithinMs),
      }),
      schedulers: live.filter(({ role }) => role === 'scheduler').length,
      workers: live.filter(({ role }) => role === 'worker').length,
    };
  });
}

function problemsOf({ flow, schedulers, workers }: Fleet): Problem[] {
  const problems: Problem[] = [];
  if (schedulers === 0) problems.push({ part: 'scheduler', reason: 'none_live' });
  if (workers === 0) problems.push({ part: 'worker', reason: 'none_live' });
  else if (flow.notBegun.length > 0) problems.push({ part: 'worker', reason: 'stalled' });
  if (workers > 0 && flow.withoutWorker.length > 0) {
    problems.push({ part: 'job_types', reason: 'no_worker' });
  }
  if (schedulers > 0 && flow.notDispatched.length > 0) {
    problems.push({ part: 'dispatch', reason: 'stalled' });
  }
  return problems;
}

async function errorOf(run: () => Promise<void>): Promise<unknown> {
  try {
    await within(answerMs, run());
    return undefined;
  } catch (error) {
    return error;
  }
}

function reasonOf(error: unknown): Problem['reason'] {
  if (!(error instanceof PurserError)) return 'not_reachable';
  if (error.code === 'no_answer') return 'no_answer';
  if (error.code.endsWith('_read_only')) return 'read_only';
  return error.code.endsWith('_refuses_writes') ? 'refuses_writes' : 'not_reachable';
}
