/** Starts the scheduler for `start` and `demo`; its closing is registered with the lifecycle. */
import { endLookUps, startLookUps } from '../../budget/look-up/look-up.ts';
import { disabledBuiltins } from '../../builtins.ts';
import { removeStaleUploads } from '../../costs/uploads/uploads.ts';
import { createLogger } from '../../log.ts';
import { createMetrics } from '../../metrics.ts';
import { watchForStalls } from '../../process/stall-watchdog.ts';
import { startScheduler } from '../../scheduler/scheduler.ts';
import type { RoleContext } from '../runtime/roles.ts';
import { thisProcess } from '../runtime/services.ts';

const reconcileAfterMs = 10_000;

export function startSchedulerRole(context: RoleContext): void {
  const { config, database, queues, lifecycle } = context;
  const log = createLogger({ level: config.LOG_LEVEL, role: 'scheduler' });
  const service = startScheduler({
    sql: database.system,
    onNotify: database.pooler === 'transaction' ? undefined : database.onNotify,
    ...queues,
    log,
    watchdog: watchForStalls(lifecycle, log),
    metrics: createMetrics(),
    leaseMs: config.PURSER_LEASE_MS,
    reconcileAfterMs,
    jobsPerEntry: config.SCHEDULER_JOBS_PER_ENTRY,
    deadlockPausesMs: config.SCHEDULER_DEADLOCK_RETRY_SECONDS,
    // Of a database that was migrated with more built-in job types than run now.
    excludedJobTypes: disabledBuiltins(config.PURSER_BUILTINS),
    alertTarget:
      config.ALERT_WEBHOOK_URL === undefined || config.ALERT_WEBHOOK_SECRET === undefined
        ? undefined
        : {
            url: config.ALERT_WEBHOOK_URL,
            secret: config.ALERT_WEBHOOK_SECRET,
            allowPrivate: config.ALERT_WEBHOOK_PRIVATE,
          },
    more: [
      { kind: 'stale_upload', run: removeStaleUploads },
      { kind: 'usage_looked_up', run: endLookUps },
      { kind: 'look_up_started', run: (sql) => startLookUps(sql) },
    ],
    process: { ...thisProcess('scheduler'), ...context.keys },
  });
  lifecycle.opened('scheduler', () => service.stop());
}
