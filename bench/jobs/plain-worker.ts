/**
 * BullMQ as in its documentation, in a process of its own: one Worker, entries removed on completion. It reports to its
 * parent when the n-th entry completed, or when each one started.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createPostgresBackend, withBackend, Worker } from 'bullmq';
import type { Processor, WorkerOptions } from 'bullmq';

/** What its parent starts it with, as JSON in its only argument. */
export interface PlainWorkerSetup {
  readonly queue: string;
  readonly store: 'redis' | 'postgres';
  readonly url: string;
  readonly concurrency: number;
  /** Each entry pauses for so long. Default: it does nothing. */
  readonly pauseMs?: number;
}

export type ToPlainWorker = { readonly kind: 'count'; readonly entries: number };
export type FromPlainWorker =
  | { readonly kind: 'ready' }
  /** CLOCK_MONOTONIC. */
  | { readonly kind: 'counted'; readonly atNs: string }
  | { readonly kind: 'taken'; readonly number: number; readonly atNs: string };

interface PlainEntry {
  readonly number?: number;
}

const setup = JSON.parse(process.argv[2] ?? '{}') as PlainWorkerSetup;
const tell = (message: FromPlainWorker): void => void process.send?.(message);
const nowNs = (): string => String(process.hrtime.bigint());

let left = 0;
const processor: Processor<PlainEntry> = async ({ data }) => {
  if (data.number !== undefined) tell({ kind: 'taken', number: data.number, atNs: nowNs() });
  if (setup.pauseMs !== undefined) await sleep(setup.pauseMs);
};
const options = {
  concurrency: setup.concurrency,
  removeOnComplete: { count: 0 },
  removeOnFail: { count: 0 },
} satisfies Partial<WorkerOptions>;
const worker =
  setup.store === 'redis'
    ? new Worker<PlainEntry>(setup.queue, processor, {
        ...options,
        connection: { url: setup.url, maxRetriesPerRequest: null },
      })
    : new (withBackend(createPostgresBackend).Worker)<PlainEntry>(setup.queue, processor, {
        ...options,
        connection: { connectionString: setup.url },
      });
worker.on('completed', () => {
  left -= 1;
  if (left === 0) tell({ kind: 'counted', atNs: nowNs() });
});
worker.on('error', (error) => process.stderr.write(`plain worker: ${error.message}\n`));
process.on('message', ({ entries }: ToPlainWorker) => {
  left = entries;
});
process.once('SIGTERM', () => void worker.close(true).finally(() => process.exit(0)));
await worker.waitUntilReady();
tell({ kind: 'ready' });
