/** Plain BullMQ for the same work: the queue in this process, the worker in another one. */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { createPostgresBackend, Queue, runMigrations, withBackend } from 'bullmq';
import { Client } from 'pg';
import { endChild, track } from '../../test/support/children.ts';
import type { Setting, Store } from './fleet.ts';
import type { FromPlainWorker, PlainWorkerSetup, ToPlainWorker } from './plain-worker.ts';

export interface PlainQueue {
  readonly queue: Pick<Queue, 'add' | 'addBulk' | 'pause' | 'resume' | 'getJobCounts'>;
  readonly url: string;
  close(): Promise<void>;
}

export interface PlainWorker {
  readonly pid: number;
  /** Resolves with the CLOCK_MONOTONIC time at which so many entries from now on have completed. */
  count(entries: number): Promise<bigint>;
  onTaken(listener: (number: number, atNs: bigint) => void): void;
  stop(): Promise<void>;
}

export const plainSettings =
  'one Worker in a process of its own, entries removed when completed, all other options as BullMQ has them';

/** A queue with default options; on Postgres in its own migrated database. */
export async function openPlainQueue(
  { servers }: Setting,
  name: string,
  store: Store,
): Promise<PlainQueue> {
  if (store === 'redis') {
    const url = servers.redisUrl;
    const queue = new Queue(name, { connection: { url } });
    return { queue, url, close: () => queue.close() };
  }
  const url = await servers.database(name);
  const client = new Client({ connectionString: url });
  await client.connect();
  await runMigrations(client);
  await client.end();
  const { Queue: PostgresQueue } = withBackend(createPostgresBackend);
  const queue = new PostgresQueue(name, { connection: { connectionString: url } });
  return { queue, url, close: () => queue.close() };
}

export async function startPlainWorker(setup: PlainWorkerSetup): Promise<PlainWorker> {
  const file = fileURLToPath(new URL('./plain-worker.ts', import.meta.url));
  const child = fork(file, [JSON.stringify(setup)]);
  track(child);
  let counted: ((atNs: bigint) => void) | undefined;
  let taken: ((number: number, atNs: bigint) => void) | undefined;
  const ready = new Promise<void>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the plain worker ended with ${code}`)));
    child.on('message', (message: FromPlainWorker) => {
      if (message.kind === 'ready') resolve();
      else if (message.kind === 'counted') counted?.(BigInt(message.atNs));
      else taken?.(message.number, BigInt(message.atNs));
    });
  });
  await ready;
  return {
    pid: child.pid ?? 0,
    count: (entries) => {
      const message: ToPlainWorker = { kind: 'count', entries };
      child.send(message);
      return new Promise((resolve) => {
        counted = resolve;
      });
    },
    onTaken: (listener) => {
      taken = listener;
    },
    stop: () => endChild(child, 'SIGTERM'),
  };
}
