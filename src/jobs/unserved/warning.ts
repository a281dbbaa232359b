/**
 * The warning that no live worker runs a job type, for who enqueues a job of it. It is asked beside an enqueue, at most
 * once in ten seconds per pool and type, and never in a transaction of the caller: a statement that failed there would
 * abort it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { liveWithinMs } from '../../db/heartbeats.ts';
import { runOn } from '../connection.ts';
import type { Connection } from '../connection.ts';
import { isPool } from '../gathered.ts';

const keptMs = 10_000;
/** An answer that takes longer is not waited for. */
const waitMs = 1_000;

interface Kept {
  readonly untilMs: number;
  readonly warning: Promise<string | undefined>;
}

const keptByPool = new WeakMap<object, Map<string, Kept>>();

/** undefined: a live worker runs it, or nobody knows: in a transaction, or if the question fails. Never rejects. */
export async function unservedWarning(
  connection: Connection,
  jobType: string,
): Promise<string | undefined> {
  if (!isPool(connection)) return undefined;
  const kept = keptByPool.get(connection) ?? new Map<string, Kept>();
  keptByPool.set(connection, kept);
  const known = kept.get(jobType);
  if (known !== undefined && known.untilMs > performance.now()) return known.warning;
  const warning = Promise.race([
    askWorkers(connection, jobType).catch(() => undefined),
    sleep(waitMs, undefined, { ref: false }),
  ]);
  kept.set(jobType, { untilMs: performance.now() + keptMs, warning });
  return warning;
}

interface Workers {
  readonly served: boolean;
  /** Types that live workers run. */
  readonly types: string[];
}

async function askWorkers(connection: Connection, jobType: string): Promise<string | undefined> {
  const [workers] = await runOn<Workers>(
    connection,
    `select coalesce(bool_or(t.job_type = $1::text), false) as served,
       coalesce(array_agg(distinct t.job_type), '{}') as types
     from public.heartbeats h cross join lateral unnest(h.job_types) t (job_type)
     where h.role = 'worker' and h.drain_requested is null and h.beat_at > now() - $2::float8 * interval '1 millisecond'`,
    [jobType, liveWithinMs],
  );
  if (workers === undefined || workers.served) return undefined;
  const others =
    workers.types.length === 0
      ? 'no worker lives'
      : `those that live run ${workers.types.slice(0, 10).join(', ')}`;
  return (
    `no live worker runs jobs of ${jobType} (${others}); the job is accepted and waits for one; ` +
    `see: purser why --type=${jobType}`
  );
}
