/**
 * One round of the claim of due schedules. A deadlock is retried; a tenant whose rows cannot be claimed is skipped for a
 * minute; an expression that cannot be computed is logged once a minute.
 */
import type { Sql } from '../db/connect.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { LogThrottle } from '../process/log-throttle.ts';
import { claimDueTenants } from '../schedules/claim.ts';
import { withDeadlockRetry } from './deadlock-retry.ts';
import { createUnclaimedTenants } from './failing-tenants.ts';
import type { SkipList } from './skip-list.ts';

/** What a round knows of those before it. */
export interface ClaimMemory {
  readonly unclaimed: SkipList;
  readonly throttle: LogThrottle;
}

export const createClaimMemory = (log: Pick<Logger, 'error'>): ClaimMemory => ({
  unclaimed: createUnclaimedTenants(log),
  throttle: new LogThrottle(),
});

export interface ClaimRoundOptions extends Partial<ClaimMemory> {
  readonly sql: Sql;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly excludedJobTypes?: readonly string[] | undefined;
  /** The process that is recorded with each tick. */
  readonly claimedBy?: string | undefined;
  /** Waits before each retry. Default 1, 2 and 4 s. */
  readonly pausesMs?: readonly number[] | undefined;
}

/** Returns how many schedules were due: above 0, the next round follows at once. */
export async function claimOnce(options: ClaimRoundOptions, offsetMs = 0): Promise<number> {
  const { sql, log, metrics, excludedJobTypes, claimedBy } = options;
  const { unclaimed, throttle } = { ...createClaimMemory(log), ...options };
  const result = await withDeadlockRetry(options, () =>
    claimDueTenants(sql, {
      offsetMs,
      excludedJobTypes,
      claimedBy,
      skippedTenants: unclaimed.list(),
      onInvalid: (expression, error) => {
        if (!throttle.isDue(`${expression.cron}|${expression.zone}`)) return;
        log.error({ ...expression, error }, 'schedule_invalid');
      },
      onTenantFault: (tenantId, error) => unclaimed.add(tenantId, error),
    }),
  );
  if (result === undefined || result.claimed + result.putOff === 0) return 0;
  metrics.ticks.inc({ result: 'created' }, result.created);
  metrics.ticks.inc({ result: 'deduplicated' }, result.deduplicated);
  metrics.ticks.inc({ result: 'missed' }, result.missed);
  log.info({ ...result }, 'schedules_claimed');
  return result.claimed + result.putOff;
}
