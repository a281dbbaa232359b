/**
 * The queue `dead-letter`: a copy of the newest dead letters for Bull Board. The table is the record; entries hold ids
 * and an error code, no worker opens this queue, and lost entries are added again.
 */
import { isJobId } from '../job-id.ts';
import type { Entry } from './backend.ts';
import type { Transport } from './transport.ts';

export const deadLetterQueue = 'dead-letter';

/** Number of dead letters in the queue; `purser dlq list` shows all. */
export const mirroredDeadLetters = 200;

/** The fields that the board may show: no payload, and no message, which can quote a payload. */
export interface MirroredDeadLetter {
  readonly jobId: string;
  readonly jobType: string;
  readonly tenantId: string;
  readonly errorCode: string;
  readonly finishedAt: Date;
}

/** As a queue entry it has no jobs: a worker that took it would begin nothing. */
interface DeadLetterEntry extends Entry {
  readonly jobId: string;
  readonly jobType: string;
  readonly tenantId: string;
  readonly errorCode: string;
}

export interface MirrorChange {
  readonly added: number;
  readonly removed: number;
}

/**
 * Entries are delayed so that no worker, of another program either, takes one. Five years: BullMQ's Redis score cannot
 * hold a time after 2039.
 */
const delayMs = 5 * 365 * 86_400_000;

const states = ['delayed', 'waiting', 'prioritized', 'active', 'completed', 'failed'] as const;

const entryPrefix = 'dead-';

/** BullMQ does not accept a plain number as an entry id. */
export const deadLetterEntryId = (jobId: string): string => `${entryPrefix}${jobId}`;

/** The job of an entry of this queue, or undefined for an id of another form. */
export function jobOfDeadLetterEntry(entryId: string): string | undefined {
  const jobId = entryId.startsWith(entryPrefix) ? entryId.slice(entryPrefix.length) : '';
  return isJobId(jobId) ? jobId : undefined;
}

/**
 * Makes the queue hold exactly the first `mirroredDeadLetters` of `listed` (newest first). Any number of processes may
 * do so at once: an existing entry stays as it is. Throws if the store is unavailable.
 */
export async function mirrorDeadLetters(
  transport: Pick<Transport, 'queue'>,
  listed: readonly MirroredDeadLetter[],
): Promise<MirrorChange> {
  const queue = transport.queue(deadLetterQueue);
  const wanted = new Map(
    listed.slice(0, mirroredDeadLetters).map((letter) => [deadLetterEntryId(letter.jobId), letter]),
  );
  const present = new Set(await queue.getRanges([...states], 0, -1));
  const surplus = [...present].filter((entryId) => !wanted.has(entryId));
  const missing = [...wanted].filter(([entryId]) => !present.has(entryId));
  await Promise.all(surplus.map((entryId) => queue.remove(entryId)));
  if (missing.length > 0) {
    await queue.addBulk(
      missing.map(([entryId, { jobId, jobType, tenantId, errorCode, finishedAt }]) => ({
        name: jobType,
        data: {
          entryId,
          jobIds: [],
          jobId,
          jobType,
          tenantId,
          errorCode,
        } satisfies DeadLetterEntry,
        // The time of the job's end, so that the board shows the order of the table.
        opts: { jobId: entryId, timestamp: finishedAt.getTime(), delay: delayMs },
      })),
    );
  }
  return { added: missing.length, removed: surplus.length };
}
