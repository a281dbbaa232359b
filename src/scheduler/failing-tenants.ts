/**
 * What dispatch and claim skip after a failure: for a minute the tenants whose rows made a statement over many tenants
 * fail, and for ten seconds the queues that refused their entries.
 */
import type { Logger } from '../log.ts';
import type { FailingTenants } from '../jobs/dispatch.ts';
import { createSkipList } from './skip-list.ts';
import type { SkipList } from './skip-list.ts';

const skipTenantMs = 60_000;
const skipQueueMs = 10_000;

export const createFailingTenants = (log: Pick<Logger, 'error'>): FailingTenants =>
  createSkipList(skipTenantMs, (tenantId, error) =>
    log.error({ tenantId, skipMs: skipTenantMs, error }, 'dispatch_tenant_skipped'),
  );

export const createUnclaimedTenants = (log: Pick<Logger, 'error'>): SkipList =>
  createSkipList(skipTenantMs, (tenantId, error) =>
    log.error({ tenantId, skipMs: skipTenantMs, error }, 'schedule_not_claimed'),
  );

export const createRefusingQueues = (log: Pick<Logger, 'error'>): SkipList =>
  createSkipList(skipQueueMs, (queue, error) =>
    log.error({ queue, skipMs: skipQueueMs, error }, 'dispatch_queue_skipped'),
  );
