/**
 * One BullMQ queue per job type. An entry names a job and its dispatch; everything else is in the database. The entry's
 * id is unique per dispatch, because BullMQ ignores an entry whose id a finished entry has.
 */
import type { Queue } from 'bullmq';
import type { Entry, QueueBackend } from './backend.ts';

export interface TransportJob {
  readonly jobId: string;
  readonly jobType: string;
  readonly dispatchNo: number;
}

export interface Transport {
  queue(jobType: string): Queue<Entry>;
  /** Adds entries; an existing entry stays as it is. Throws if the store is unavailable. */
  add(jobs: readonly TransportJob[]): Promise<void>;
  /** Those of `jobs` whose entry is neither waiting nor active. */
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
      for (const jobType of new Set(jobs.map((job) => job.jobType))) {
        const group = jobs.filter((job) => job.jobType === jobType);
        await queue(jobType).addBulk(
          group.map((job) => ({
            name: jobType,
            data: { jobId: job.jobId, dispatchNo: job.dispatchNo },
            opts: { jobId: entryId(job) },
          })),
        );
      }
    },
    findLost: async (jobs) => {
      const states = await Promise.all(
        jobs.map((job) => queue(job.jobType).getJobState(entryId(job))),
      );
      return jobs.filter((_, index) => !liveStates.has(states[index] ?? 'unknown'));
    },
    close: async () => {
      await Promise.all([...queues.values()].map((opened) => opened.close()));
    },
  };
}
