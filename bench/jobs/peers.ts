/** Completed no-op jobs per second of other Postgres queues, each in its own database, beside Purser in the same run. */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { makeWorkerUtils } from 'graphile-worker';
import { Client } from 'pg';
import PgBoss from 'pg-boss';
import { endChild, track } from '../../test/support/children.ts';
import type { Setting } from './fleet.ts';
import { peerBatch, peerType } from './peer-worker.ts';
import type { Peer, PeerWorkerSetup } from './peer-worker.ts';

export interface PeerFleet {
  readonly workerPid: number;
  /** Enqueues so many jobs while the worker does not work. */
  enqueue(jobs: number): Promise<void>;
  /** Lets the worker work until every job has completed. Returns the seconds that it took, to about 20 ms. */
  drain(): Promise<number>;
  /** The worker stops working, and its connections close. */
  halt(): Promise<void>;
  stop(): Promise<void>;
}

interface Producer {
  readonly enqueue: (jobs: number) => Promise<void>;
  /** A query for whether any job is left. */
  readonly left: string;
  readonly close: () => Promise<void>;
}

async function graphileProducer(url: string): Promise<Producer> {
  const utils = await makeWorkerUtils({ connectionString: url });
  await utils.migrate();
  return {
    enqueue: async (jobs) => {
      const specs = Array.from({ length: jobs }, () => ({ identifier: peerType, payload: {} }));
      await utils.addJobs(specs);
    },
    left: 'select exists (select from graphile_worker._private_jobs) as left',
    close: async () => {
      await utils.release();
    },
  };
}

async function pgBossProducer(url: string): Promise<Producer> {
  const boss = new PgBoss({ connectionString: url, max: 4, supervise: false, schedule: false });
  await boss.start();
  await boss.createQueue(peerType);
  return {
    enqueue: (jobs) =>
      boss.insert(Array.from({ length: jobs }, () => ({ name: peerType, data: {} }))),
    left: `select exists (select from pgboss.job where name = '${peerType}' and state < 'completed') as left`,
    close: () => boss.stop({ graceful: false, wait: true }),
  };
}

export async function openPeer(setting: Setting, peer: Peer): Promise<PeerFleet> {
  const url = await setting.servers.database(peer.replaceAll(/\W/g, '_'));
  const producer = await (peer === 'pg-boss tuned' ? pgBossProducer(url) : graphileProducer(url));
  const client = new Client({ connectionString: url });
  await client.connect();
  const child = await startWorker({ peer, url, concurrency: setting.concurrency });
  const isLeft = async (): Promise<boolean> => {
    const { rows } = await client.query<{ left: boolean }>(producer.left);
    return rows[0]?.left === true;
  };
  return {
    workerPid: child.pid ?? 0,
    enqueue: async (jobs) => {
      for (let done = 0; done < jobs; done += peerBatch) {
        await producer.enqueue(Math.min(peerBatch, jobs - done));
      }
    },
    drain: async () => {
      const startedMs = performance.now();
      child.send('run');
      while (await isLeft()) await sleep(20);
      return (performance.now() - startedMs) / 1_000;
    },
    halt: async () => {
      const halted = once(child, 'message');
      child.send('halt');
      await halted;
    },
    stop: async () => {
      await endChild(child, 'SIGTERM');
      await client.end();
      await producer.close();
    },
  };
}

async function startWorker(setup: PeerWorkerSetup): Promise<ChildProcess> {
  const file = fileURLToPath(new URL('./peer-worker.ts', import.meta.url));
  const child = fork(file, [JSON.stringify(setup)]);
  track(child);
  await once(child, 'message');
  return child;
}
