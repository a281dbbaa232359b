/**
 * Drains workers: each takes no new jobs, ends what it has and stays alive, until the drain is undone or the process
 * ends. The request is stored with the worker's heartbeat, where the worker reads it within seconds.
 */
import { atomically } from '../../db/connect.ts';
import type { Sql, Tx } from '../../db/connect.ts';
import { liveWithinMs, requestDrain } from '../../db/heartbeats.ts';
import { PurserError } from '../../errors.ts';
import { recordAct } from '../audit.ts';
import type { Operator } from '../audit.ts';
import { listWorkers } from './list.ts';
import type { WorkerState } from './list.ts';

export interface DrainOrder {
  /** The id of a worker or the beginning of one; 'all': every live worker, to undo every one that drains. */
  readonly worker: string | { readonly all: true };
  readonly reason?: string | undefined;
  /** Lets them take jobs again. */
  readonly undo: boolean;
}

export interface DrainAnswer {
  readonly workerIds: readonly string[];
  /** Those among them that did not drain yet, or did. */
  readonly changedIds: readonly string[];
}

/** Throws `unknown_worker`, also where several workers have this beginning. */
export async function drainWorkers(
  sql: Sql | Tx,
  operator: Operator,
  { worker, reason, undo }: DrainOrder,
): Promise<DrainAnswer> {
  return atomically(sql, async (tx) => {
    const workerIds =
      typeof worker === 'string' ? [await findWorker(tx, worker)] : await listIds(tx, undo);
    const request = undo ? null : { by: operator.name, reason: reason ?? null };
    const changedIds = await requestDrain(tx, workerIds, request);
    if (changedIds.length > 0) {
      await recordAct(tx, operator, {
        act: undo ? 'drain_undo' : 'drain',
        target: { workers: changedIds },
        reason,
        affected: changedIds.length,
        before: { draining: undo },
        after: { draining: !undo },
      });
    }
    return { workerIds, changedIds };
  });
}

async function listIds(tx: Tx, undo: boolean): Promise<string[]> {
  const rows = await tx<{ id: string }[]>`
    select process_id as id from public.heartbeats
    where role = 'worker' and case when ${undo} then drain_requested is not null
      else beat_at > now() - ${liveWithinMs} * interval '1 millisecond' end
    order by process_id`;
  return rows.map(({ id }) => id);
}

const maxNamed = 10;

const named = (ids: readonly string[]): string =>
  ids.length > maxNamed
    ? `${ids.slice(0, maxNamed).join(', ')} and ${ids.length - maxNamed} more`
    : ids.join(', ');

async function findWorker(tx: Tx, worker: string): Promise<string> {
  const rows = await tx<{ id: string }[]>`
    select process_id as id from public.heartbeats where role = 'worker' order by process_id`;
  const ids = rows.map(({ id }) => id);
  if (ids.includes(worker)) return worker;
  const found = ids.filter((id) => worker !== '' && id.startsWith(worker));
  const [only] = found;
  if (only !== undefined && found.length === 1) return only;
  const what = `worker ${JSON.stringify(worker)}`;
  const text =
    found.length > 1
      ? `${what} is the beginning of several: ${named(found)}`
      : `there is no ${what}; ${ids.length === 0 ? 'no worker is running' : `workers: ${named(ids)}`}`;
  throw new PurserError('unknown_worker', text, { status: 404 });
}

export interface DrainProgress {
  readonly workerId: string;
  /** gone: its process has ended. */
  readonly state: WorkerState | 'gone';
  /** Jobs that it has begun and not ended. */
  readonly running: number;
}

/** How far these workers are. */
export async function readDrain(
  sql: Sql,
  workerIds: readonly string[],
): Promise<readonly DrainProgress[]> {
  const { workers } = await listWorkers(sql, 0);
  return workerIds.map((workerId) => {
    const worker = workers.find((one) => one.workerId === workerId);
    if (worker === undefined) return { workerId, state: 'gone', running: 0 };
    const { state, running, beatAt } = worker;
    // An orderly end removes its heartbeat before all ends of its jobs are seen here.
    return { workerId, state: beatAt === null && running === 0 ? 'gone' : state, running };
  });
}
