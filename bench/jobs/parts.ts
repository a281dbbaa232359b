/** Each step of a job's life as a single call, using the modules of the build. */
import type { AttemptEnd, BegunAttempt } from '../../src/jobs/attempts.ts';
import type { DispatchedJob } from '../../src/jobs/dispatch.ts';
import { fleetEnvironment, tenants } from './fleet.ts';
import type { FleetDatabase, Setting } from './fleet.ts';
import { newToken } from '../../src/jobs/attempts.ts';

const type = 'bench_noop';
const chunk = 500;
const leaseMs = 60_000;
/** As the scheduler does: two entries per slot of a worker. */
const entriesPerSlot = 2;

export interface Job {
  readonly jobId: string;
}

interface Ended extends Job {
  readonly token: string;
  readonly end: AttemptEnd;
}

export type Parts = Awaited<ReturnType<typeof openParts>>;

interface EntryJob {
  readonly jobId: string;
  readonly entryId: string;
  readonly isDurable: boolean;
}

export async function openParts(setting: Setting, database: FleetDatabase) {
  const { build, concurrency } = setting;
  const config = build.loadConfig(fleetEnvironment(setting, database.url, 'redis'));
  const log = build.createLogger({ level: 'warn', role: 'bench' });
  const lifecycle = new build.Lifecycle(log);
  const opened = await build.openServiceDatabase(config, lifecycle, {
    name: 'bench',
    systemConnections: 3,
    tenantThreads: true,
  });
  const { executors } = await build.openWorkerParts(config, lifecycle, {
    database: opened,
    llm: { kind: 'offline' },
  });
  const { backend, transport } = build.openQueues(config, lifecycle, {
    database: opened,
    workers: 1,
    name: 'bench',
    log,
  });
  await backend.ready(3_000);
  const sql = opened.system;
  const batches = build.createBatches({ sql, workerId: 'bench', leaseMs, log });
  const room = concurrency * entriesPerSlot;
  /** BullMQ's worker over no-op work; `seen` hears of each entry. */
  const startTaking = (seen: (entry: EntryJob) => void) => {
    const worker = backend.worker(
      type,
      async ({ data }) => {
        for (const jobId of data.jobIds) seen({ jobId, entryId: data.entryId, isDurable: false });
        await Promise.resolve();
      },
      { concurrency },
    );
    void worker.run();
    return worker;
  };
  return {
    room,
    enqueue: async (count: number): Promise<void> => {
      for (let done = 0; done < count; done += chunk) {
        const requests = Array.from({ length: Math.min(chunk, count - done) }, (_, index) => ({
          tenantId: tenants[index % tenants.length] ?? '',
          jobType: type,
        }));
        await build.enqueueMany(database.sql, requests);
      }
    },
    /** As a round of dispatch: what the fleet has room for, whether the queue is there, the claim. */
    claim: async (count: number): Promise<DispatchedJob[]> => {
      const claimed: DispatchedJob[] = [];
      while (claimed.length < count) {
        await build.fleetSlots(sql, 15_000);
        await build.countQueued(sql);
        await backend.ping();
        claimed.push(...(await build.claimWaitingJobs(sql, [{ jobType: type, capacity: room }])));
      }
      return claimed;
    },
    add: async (jobs: readonly DispatchedJob[]): Promise<void> => {
      for (let from = 0; from < jobs.length; from += room) {
        await transport.add(jobs.slice(from, from + room));
      }
    },
    fetch: async (count: number): Promise<EntryJob[]> => {
      const entries: EntryJob[] = [];
      const { promise, resolve } = withResolver();
      let finished = 0;
      const worker = startTaking((entry) => entries.push(entry));
      worker.on('completed', () => {
        finished += 1;
        if (finished === count) resolve();
      });
      await promise;
      void worker.close(true);
      return entries;
    },
    /** Ask for the next entry before it is added. */
    fetchOneByOne: () => {
      let taken: ((entry: EntryJob) => void) | undefined;
      const worker = startTaking((entry) => taken?.(entry));
      return {
        next: () =>
          new Promise<EntryJob>((resolve) => {
            taken = resolve;
          }),
        stop: () => worker.close(true),
      };
    },
    begin: async ({ jobId, entryId }: EntryJob): Promise<BegunAttempt> => {
      const attempt = await batches.begin({ jobId, entryId, token: newToken(jobId) });
      if (attempt === undefined) throw new Error(`job ${jobId} did not begin`);
      return attempt;
    },
    run: async (attempt: BegunAttempt): Promise<Ended> => {
      const end = await new Promise<AttemptEnd>((resolve, reject) => {
        executors.run(attempt, new build.AbortSource(), (outcome) => {
          if (outcome === undefined) reject(new Error(`job ${attempt.jobId} did not start`));
          else resolve(outcome.end);
        });
      });
      return { jobId: attempt.jobId, token: attempt.token, end };
    },
    finish: async (ended: Ended): Promise<Job> => {
      const result = await batches.finish(ended);
      if (result !== 'applied' || ended.end.toState !== 'completed') {
        throw new Error(`job ${ended.jobId} came to ${result} ${ended.end.toState}`);
      }
      return ended;
    },
    close: () => lifecycle.close(),
  };
}

function withResolver(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {};
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
