/**
 * The queue `dead-letter`: a picture of the newest dead letters for Bull Board. The table is the record;
 * entries hold ids and a code word, no worker ever opens this queue, and what is lost is drawn again.
 */
import type { Entry } from './backend.ts';
import type { Transport } from './transport.ts';

export const deadLetterQueue = 'dead-letter';

/** How many dead letters a board shows; older ones are in the table (purser dlq list). */
export const mirroredDeadLetters = 200;

/** A dead letter as the board may know it: no message (it can quote a payload), no payload. */
export interface MirroredDeadLetter {
  readonly jobId: string;
  readonly jobType: string;
  readonly tenantId: string;
  readonly errorCode: string;
  readonly finishedAt: Date;
}

/** `dispatchNo` 0 is no dispatch: whoever took such an entry could begin nothing with it. */
interface DeadLetterEntry extends Entry {
  readonly jobType: string;
  readonly tenantId: string;
  readonly errorCode: string;
}

export interface MirrorChange {
  readonly added: number;
  readonly removed: number;
}

/**
 * Entries wait for this long and are then still there, as nothing takes them: Bull Board offers its
 * button "promote" on waiting-for-later entries only. (A Redis score holds no time after 2039.)
 */
const delayMs = 5 * 365 * 86_400_000;

const states = ['delayed', 'waiting', 'prioritized', 'active', 'completed', 'failed'] as const;

const entryPrefix = 'dead-';

/** BullMQ takes no plain number as an entry's id. */
export const deadLetterEntryId = (jobId: string): string => `${entryPrefix}${jobId}`;

/** The job that an entry of this queue stands for, or undefined when the id is none of ours. */
export function jobOfDeadLetterEntry(entryId: string): string | undefined {
  const jobId = entryId.startsWith(entryPrefix) ? entryId.slice(entryPrefix.length) : '';
  return /^[1-9]\d{0,17}$/.test(jobId) ? jobId : undefined;
}

/**
 * Makes the queue hold exactly `listed` (newest first, at most `mirroredDeadLetters` are taken).
 * Any number of processes may do so at once: an entry that is there is left as it is. Throws when the
 * store is away.
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
        data: { jobId, dispatchNo: 0, jobType, tenantId, errorCode } satisfies DeadLetterEntry,
        // Dated as it died, so that the board's order is the table's.
        opts: { jobId: entryId, timestamp: finishedAt.getTime(), delay: delayMs },
      })),
    );
  }
  return { added: missing.length, removed: surplus.length };
}
