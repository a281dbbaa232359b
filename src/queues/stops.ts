/**
 * What stops or limits single queues in the store. Purser pauses jobs in the database only; BullMQ also obeys a pause,
 * a concurrency and a rate limit in the queue itself, which other tools can set, and then reports no fault.
 */
import type { Queue } from 'bullmq';
import { PurserError } from '../errors.ts';
import type { Entry, QueueBackend } from './backend.ts';
import type { Transport } from './transport.ts';

export interface QueueStop {
  readonly queue: string;
  readonly cause: 'paused' | 'concurrency' | 'rate_limit' | 'damaged';
  /** false: jobs run, but not as many as workers could. */
  readonly stands: boolean;
  readonly seen: string;
  /** The command that ends it. */
  readonly fix: string;
}

/** A rate limit that holds a queue for longer than this stops it. */
const shortHoldMs = 60_000;

type Stores = {
  readonly backend: Pick<QueueBackend, 'damagedKeys'>;
  readonly transport: Pick<Transport, 'queue'>;
};

/** Throws if the store is unavailable. */
export async function readQueueStops(
  stores: Stores,
  jobTypes: readonly string[],
): Promise<QueueStop[]> {
  return (await Promise.all(jobTypes.map((jobType) => stopsOf(stores, jobType)))).flat();
}

/** Removes what `readQueueStops` reports, and returns it. Throws `queue_damaged` where a key has another type. */
export async function liftQueueStops(stores: Stores, jobType: string): Promise<QueueStop[]> {
  const stops = await stopsOf(stores, jobType);
  const damaged = stops.find(({ fix }) => fix !== fixOf(jobType));
  if (damaged !== undefined) {
    throw new PurserError(
      'queue_damaged',
      `queue ${jobType}: ${damaged.seen}; delete it: ${damaged.fix}`,
    );
  }
  if (stops.length > 0) {
    const queue = stores.transport.queue(jobType);
    await queue.removeGlobalConcurrency();
    await queue.removeGlobalRateLimit();
    await queue.removeRateLimitKey();
    // Last: it also wakes the workers that wait for an entry.
    await queue.resume();
  }
  return stops;
}

// A job type has no character that a shell reads.
const fixOf = (jobType: string): string => `purser resume --type=${jobType}`;

async function stopsOf({ backend, transport }: Stores, jobType: string): Promise<QueueStop[]> {
  const damaged = await backend.damagedKeys(jobType);
  if (damaged.length > 0) {
    return damaged.map(({ key, type, expected }) => ({
      queue: jobType,
      cause: 'damaged',
      stands: true,
      seen: `its key ${key} is a ${type}, and not a ${expected}`,
      fix: `redis-cli DEL ${key}`,
    }));
  }
  const queue = transport.queue(jobType);
  const meta = await queue.getBackend().getQueueMeta();
  const found = [pauseOf(meta), concurrencyOf(meta), await rateLimitOf(queue, meta)];
  return found
    .filter((stop) => stop !== undefined)
    .map((stop) => ({ queue: jobType, ...stop, fix: fixOf(jobType) }));
}

type Meta = Readonly<Record<string, string>>;
type Found = Pick<QueueStop, 'cause' | 'stands' | 'seen'> | undefined;

const pauseOf = ({ paused }: Meta): Found =>
  paused === undefined ? undefined : { cause: 'paused', stands: true, seen: 'it is paused' };

function concurrencyOf({ concurrency }: Meta): Found {
  if (concurrency === undefined) return undefined;
  const limit = toNumber(concurrency);
  if (limit === undefined) return damagedField('concurrency');
  const seen = `its concurrency is ${limit} over all workers`;
  return { cause: 'concurrency', stands: limit <= 0, seen };
}

async function rateLimitOf(queue: Queue<Entry>, { max, duration }: Meta): Promise<Found> {
  if (max === undefined) return undefined;
  const durationMs = toNumber(duration ?? '');
  if (toNumber(max) === undefined) return damagedField('max');
  if (durationMs === undefined) return damagedField('duration');
  const heldMs = await queue.getRateLimitTtl();
  const limit = `its rate limit of ${max} per ${durationMs / 1000} s`;
  return heldMs > shortHoldMs
    ? {
        cause: 'rate_limit',
        stands: true,
        seen: `${limit} holds it for ${Math.ceil(heldMs / 1000)} s more`,
      }
    : { cause: 'rate_limit', stands: false, seen: `${limit} applies to all workers` };
}

const toNumber = (text: string): number | undefined =>
  /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : undefined;

const damagedField = (field: string): Found => ({
  cause: 'damaged',
  stands: true,
  seen: `the field ${field} of its settings is no number`,
});
