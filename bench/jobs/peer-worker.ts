/**
 * The worker of another Postgres queue in a process of its own, as its documentation tunes it. It works from a message
 * `run` to a message `halt`.
 */
import { Logger, run } from 'graphile-worker';
import PgBoss from 'pg-boss';

export const peers = ['graphile-worker', 'graphile-worker batched', 'pg-boss tuned'] as const;
export type Peer = (typeof peers)[number];

/** What its parent starts it with, as JSON in its only argument. */
export interface PeerWorkerSetup {
  readonly peer: Peer;
  readonly url: string;
  readonly concurrency: number;
}

export const peerType = 'bench_noop';
/** Jobs that graphile-worker takes into memory at once, where it is batched; pg-boss takes them in batches of this. */
export const peerBatch = 500;
export const pgBossWorkers = 4;

type Halt = () => Promise<unknown>;

async function startGraphile({ peer, url, concurrency }: PeerWorkerSetup): Promise<Halt> {
  const logger = new Logger(() => () => {});
  const batched = {
    localQueue: { size: peerBatch },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  };
  const runner = await run({
    connectionString: url,
    noHandleSignals: true,
    logger,
    crontab: '',
    concurrency,
    maxPoolSize: 10,
    taskList: { [peerType]: async () => {} },
    ...(peer === 'graphile-worker'
      ? {}
      : {
          preset: { worker: { concurrentJobs: concurrency, maxPoolSize: 10, logger, ...batched } },
        }),
  });
  return () => runner.stop();
}

async function startPgBoss({ url }: PeerWorkerSetup): Promise<Halt> {
  const boss = new PgBoss({ connectionString: url, max: 10, supervise: false, schedule: false });
  await boss.start();
  for (let count = 0; count < pgBossWorkers; count += 1) {
    const id: string = await boss.work(
      peerType,
      { batchSize: peerBatch, pollingIntervalSeconds: 0.5 },
      async () => {
        // The next batch at once, in place of half a second later.
        boss.notifyWorker(id);
        await Promise.resolve();
      },
    );
  }
  return () => boss.stop({ graceful: false, wait: true });
}

if (process.send !== undefined && process.argv[2] !== undefined) {
  const setup = JSON.parse(process.argv[2]) as PeerWorkerSetup;
  let halt: Halt | undefined;
  const obey = async (message: unknown): Promise<void> => {
    if (message === 'run') {
      halt = await (setup.peer === 'pg-boss tuned' ? startPgBoss(setup) : startGraphile(setup));
    } else {
      await halt?.();
      process.send?.('halted');
    }
  };
  process.on('message', (message) => void obey(message));
  process.once('SIGTERM', () => process.exit(0));
  process.send('ready');
}
