/**
 * The scheduler role: the loops claim, dispatch, sweep and batches, and a heartbeat. There is no leader: any number of schedulers
 * may run, because each claim is one short transaction that skips locked rows.
 */
import type { Database } from '../db/database.ts';
import { queueStoreSight, removeHeartbeat, writeHeartbeat } from '../db/heartbeats.ts';
import type { ProcessFacts } from '../db/heartbeats.ts';
import { closeReadOnlySessions } from '../db/read-only-sessions.ts';
import { codeOf } from '../errors.ts';
import { stepBatches } from '../operations/batches/step.ts';
import { startLoop } from '../process/loop.ts';
import { MirrorPace } from '../queues/mirror-pace.ts';
import type { StallWatchdog } from '../process/stall-watchdog.ts';
import { deliverAlerts } from './alerts/deliver.ts';
import type { WebhookTarget } from './alerts/webhook.ts';
import { claimOnce, createClaimMemory } from './claim-round.ts';
import { DispatchPace } from './dispatch-pace.ts';
import { dispatchOnce } from './dispatch-round.ts';
import { createFailingTenants, createRefusingQueues } from './failing-tenants.ts';
import type { DispatchOptions } from './dispatch-round.ts';
import { LeaseJudge } from './lease-judge.ts';
import { QueueDepths } from './queue-depths.ts';
import { wakeOnNotify } from './wake-on-notify.ts';
import { sweepOnce } from './sweep-round.ts';
import type { SweepOptions } from './sweep-round.ts';

export interface SchedulerOptions extends DispatchOptions, Omit<SweepOptions, 'mayJudgeLeases'> {
  readonly leaseMs: number;
  readonly process: ProcessFacts;
  /** Receives progress after every round that returns. */
  readonly watchdog?: Pick<StallWatchdog, 'expect'> | undefined;
  /** Job types whose schedules make no ticks here; default none. */
  readonly excludedJobTypes?: readonly string[];
  /** Jobs that share a queue entry at most. Default 100. */
  readonly jobsPerEntry?: number;
  /** Waits before each retry of a claim that met a deadlock. Default 1, 2 and 4 s. */
  readonly deadlockPausesMs?: readonly number[];
  readonly claimEveryMs?: number;
  readonly dispatchEveryMs?: number;
  readonly sweepEveryMs?: number;
  /** Where alerts of money go. Default: they stay in their table. */
  readonly alertTarget?: WebhookTarget | undefined;
  /**
   * How to hear of notifications: an enqueue then ends the pause of the dispatch. Default: it is found at the next
   * round. Not through a pooler in transaction mode.
   */
  readonly onNotify?: Database['onNotify'] | undefined;
}

export interface SchedulerService {
  stop(): Promise<void>;
}

export function startScheduler(options: SchedulerOptions): SchedulerService {
  const { log, sql, watchdog, onNotify } = options;
  const listens = onNotify !== undefined;
  const pace = new DispatchPace({ listens, everyMs: options.dispatchEveryMs });
  const memory = {
    pace,
    depths: new QueueDepths(options.jobsPerEntry),
    failing: createFailingTenants(log),
    refusing: createRefusingQueues(log),
  };
  const claims = {
    ...createClaimMemory(log),
    claimedBy: options.process.processId,
    pausesMs: options.deadlockPausesMs,
  };
  const judge = new LeaseJudge(options.leaseMs);
  const mirrorPace = new MirrorPace();
  const onFailure = async (error: unknown) => {
    judge.failed(error);
    await closeReadOnlySessions([sql], error);
  };
  /** The work of a round, whose end says that Postgres answers. */
  const answered = async (round: Promise<number>): Promise<number> => {
    const work = await round;
    judge.answered();
    return work;
  };
  const sawQueueStore = queueStoreSight(sql, options.process.processId);
  const dispatchRound = async (): Promise<number> => {
    try {
      const dispatched = await answered(dispatchOnce({ ...options, ...memory, listens }));
      await sawQueueStore(false);
      return dispatched;
    } catch (error) {
      if (codeOf(error) === 'queue_store_away') await sawQueueStore(true);
      throw error;
    }
  };
  const dispatch = startLoop({
    name: 'dispatch',
    everyMs: () => pace.everyMs(),
    restMs: (roundMs, work) => pace.restMs(roundMs, work),
    // The same as the reconnection delay of the drivers, so that dispatch resumes with them after an outage.
    maxBackoffMs: 3_000,
    log,
    watchdog,
    onFailure,
    runOnce: dispatchRound,
  });
  onNotify?.(wakeOnNotify(() => dispatch.wake()));
  let batchesAreActive = false;
  const loops = [
    dispatch,
    startLoop({
      name: 'batches',
      // Twice in the quarter of a second within which a batch catches up with its pace.
      everyMs: () => (batchesAreActive ? 100 : 1_000),
      log,
      watchdog,
      onFailure,
      runOnce: async () => {
        const { changed, isActive, fault } = await stepBatches(sql);
        judge.answered();
        if (fault !== undefined) log.warn(fault, 'batch_step_failed');
        batchesAreActive = isActive;
        return changed;
      },
    }),
    startLoop({
      name: 'claim',
      everyMs: options.claimEveryMs ?? 1_000,
      log,
      watchdog,
      onFailure,
      runOnce: () => answered(claimOnce({ ...options, ...claims })),
    }),
    startLoop({
      name: 'sweep',
      everyMs: options.sweepEveryMs ?? 3_000,
      log,
      watchdog,
      onFailure,
      // A sweep that found work does not need to run again at once.
      runOnce: async () => {
        await answered(
          sweepOnce({ ...options, mirrorPace, mayJudgeLeases: () => judge.mayJudge() }),
        );
        return 0;
      },
    }),
  ];
  const { alertTarget: target } = options;
  const alerts =
    target === undefined
      ? []
      : [
          startLoop({
            name: 'alerts',
            everyMs: 2_000,
            log,
            watchdog,
            onFailure,
            runOnce: () => deliverAlerts({ sql, target, log }),
          }),
        ];
  const beats = startLoop({
    name: 'heartbeat',
    everyMs: 2_000,
    log,
    watchdog,
    onFailure,
    runOnce: async () => {
      const oldest = Math.min(...loops.map((loop) => loop.succeededAt().getTime()));
      const { mark } = await writeHeartbeat(sql, {
        ...options.process,
        role: 'scheduler',
        jobTypes: [],
        typeSlots: [],
        slots: 0,
        running: 0,
        progressedAt: new Date(oldest),
        metrics: await options.metrics.registry.getMetricsAsJSON(),
      });
      void options.backend.userMark?.write(mark);
      return 0;
    },
  });
  log.info({ backend: options.backend.kind }, 'scheduler_started');
  return {
    stop: async () => {
      await Promise.all([...loops, ...alerts, beats].map((loop) => loop.stop()));
      await options.backend.userMark?.remove(options.process.processId);
      await removeHeartbeat(sql, options.process.processId);
    },
  };
}
