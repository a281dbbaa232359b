/**
 * One BullMQ queue per job type. An entry names a job and its dispatch; everything else is in the database. The entry's
 * id is unique per dispatch, because BullMQ ignores an entry whose id a finished entry has.
 */
import type { Queue } from 'bullmq';
import type { Entry, QueueBackend } from './backend.ts';
import { isErrorReply } from './write-probe.ts';

export interface TransportJob {
  readonly jobId: string;
  readonly jobType: string;
  readonly dispatchNo: number;
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
  /** Those of `jobs` whose entry is neither waiting nor active; without those that the store refuses to read. */
  findLost<T extends TransportJob>(jobs: readonly T[]): Promise<T[]>;
  close(): Promise<void>;
}

export const entryId = (job: Pick<TransportJob, 'jobId' | 'dispatchNo'>): string =>
  `${job.jobId}-${job.dispatchNo}`;

const liveStates = new Set(['waiting', 'active', 'delayed', 'prioritized', 'waiting-children']);

export function createTransport(backend: QueueBackend): Transport {
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
        const entries = group.map((job) => ({
          name: jobType,
          data: { jobId: job.jobId, dispatchNo: job.dispatchNo },
          opts: { jobId: entryId(job) },
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
      const states = await Promise.all(
        jobs.map(async (job) => {
          try {
            return await queue(job.jobType).getJobState(entryId(job));
          } catch (error) {
            if (isErrorReply(error)) return 'waiting';
            throw error;
          }
        }),
      );
      return jobs.filter((_, index) => !liveStates.has(states[index] ?? 'unknown'));
    },
    close: async () => {
      await Promise.all([...queues.values()].map((opened) => opened.close()));
    },
  };
}
