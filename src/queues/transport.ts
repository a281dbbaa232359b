/**
 * One BullMQ queue per job type. An entry names jobs; everything else is in the database. Its id is random, because
 * BullMQ ignores an entry whose id a finished entry has.
 */
import type { Queue } from 'bullmq';
import type { Entry, QueueBackend } from './backend.ts';
import { isErrorReply } from './write-probe.ts';

export interface TransportJob {
  readonly jobId: string;
  readonly jobType: string;
  readonly entryId: string;
  /** It has an entry of its own, and begins when it can run at once. */
  readonly alone?: boolean;
}

export interface RefusingQueue {
  readonly jobType: string;
  readonly error: Error;
}

export interface Transport {
  queue(jobType: string): Queue<Entry>;
  /**
   * Adds entries; an existing entry stays as it is. Returns the queues that refused theirs: one with a damaged key
   * must not hold up the others. Throws if the store is unavailable.
   */
  add(jobs: readonly TransportJob[]): Promise<RefusingQueue[]>;
  /**
   * Those of `jobs` whose entry neither waits nor is held by a worker; without those that the store refuses to read. The
   * lock of an active entry expires when its worker is dead, or blocked for so long that another one may go on.
   */
  findLost<T extends TransportJob>(jobs: readonly T[]): Promise<T[]>;
  close(): Promise<void>;
}

const liveStates = new Set(['waiting', 'delayed', 'prioritized', 'waiting-children']);

export function createTransport(backend: Pick<QueueBackend, 'queue' | 'isHeld'>): Transport {
  const queues = new Map<string, Queue<Entry>>();
  const queue = (jobType: string): Queue<Entry> => {
    const known = queues.get(jobType);
    if (known !== undefined) return known;
    const made = backend.queue(jobType);
    queues.set(jobType, made);
    return made;
  };
  return {
    queue,
    add: async (jobs) => {
      const refusing: RefusingQueue[] = [];
      for (const jobType of new Set(jobs.map((job) => job.jobType))) {
        const group = jobs.filter((job) => job.jobType === jobType);
        const entries = entriesOf(group).map((data) => ({
          name: jobType,
          data,
          opts: { jobId: data.entryId },
        }));
        try {
          await queue(jobType).addBulk(entries);
        } catch (error) {
          if (!isErrorReply(error)) throw error;
          refusing.push({ jobType, error });
        }
      }
      return refusing;
    },
    findLost: async (jobs) => {
      const typeOf = new Map(jobs.map(({ entryId, jobType }) => [entryId, jobType]));
      const live = new Set<string>();
      await Promise.all(
        [...typeOf].map(async ([entryId, jobType]) => {
          try {
            const state = await queue(jobType).getJobState(entryId);
            if (state === 'active') {
              if (await backend.isHeld(jobType, entryId)) live.add(entryId);
            } else if (liveStates.has(state)) live.add(entryId);
          } catch (error) {
            if (!isErrorReply(error)) throw error;
            live.add(entryId);
          }
        }),
      );
      return jobs.filter(({ entryId }) => !live.has(entryId));
    },
    close: async () => {
      await Promise.all([...queues.values()].map((opened) => opened.close()));
    },
  };
}

/** In the order of their first jobs. */
function entriesOf(jobs: readonly TransportJob[]): Entry[] {
  const entries = new Map<string, Entry & { jobIds: string[] }>();
  for (const { entryId, jobId, alone = false } of jobs) {
    const known = entries.get(entryId);
    if (known !== undefined) known.jobIds.push(jobId);
    else entries.set(entryId, { entryId, jobIds: [jobId], ...(alone ? { alone } : {}) });
  }
  return [...entries.values()];
}
