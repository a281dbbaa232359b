/**
 * Tenants whose rows made a statement over many tenants fail. Dispatch skips them for a minute, so that it need not
 * search for them again in every round.
 */
import type { Logger } from '../log.ts';
import type { FailingTenants } from '../jobs/dispatch.ts';

const skipMs = 60_000;

export function createFailingTenants(log: Pick<Logger, 'error'>): FailingTenants {
  const failedAtMs = new Map<string, number>();
  return {
    list: () => {
      for (const [tenantId, atMs] of failedAtMs) {
        if (performance.now() - atMs >= skipMs) failedAtMs.delete(tenantId);
      }
      return [...failedAtMs.keys()];
    },
    add: (tenantId, error) => {
      failedAtMs.set(tenantId, performance.now());
      log.error({ tenantId, skipMs, error }, 'dispatch_tenant_skipped');
    },
  };
}
