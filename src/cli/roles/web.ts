/** Starts the web role for `start` and `demo`; its closing is registered with the lifecycle. */
import { randomBytes } from 'node:crypto';
import { listJobTypes } from '../../jobs/registration.ts';
import { createLogger } from '../../log.ts';
import { createMetrics } from '../../metrics.ts';
import { watchForStalls } from '../../process/stall-watchdog.ts';
import type { Door } from '../../web/door.ts';
import { startWeb } from '../../web/web.ts';
import { payloadDoor } from '../runtime/payload-door.ts';
import type { RoleContext } from '../runtime/roles.ts';
import { version } from '../version.ts';

export interface WebAddress {
  readonly port: number;
  readonly user: string;
  /** Set only when the password was generated for this start. */
  readonly generatedPassword: string | undefined;
}

/** Outside production a missing password is generated for this start and returned. */
export async function startWebRole(
  context: RoleContext,
  listening: { readonly port: number; readonly door?: Door | undefined },
): Promise<WebAddress> {
  const { config, database, queues, lifecycle } = context;
  const generatedPassword =
    config.DASHBOARD_PASSWORD === undefined ? randomBytes(12).toString('base64url') : undefined;
  const user = config.DASHBOARD_USER ?? 'operator';
  const log = createLogger({ level: config.LOG_LEVEL, role: 'web' });
  const service = await startWeb({
    database,
    ...queues,
    jobTypes: () => listJobTypes(database.system),
    trustedProxies: config.TRUSTED_PROXIES,
    metricsPublic: config.METRICS_PUBLIC,
    payloads: payloadDoor(config, database.system),
    credentials: { user, password: config.DASHBOARD_PASSWORD ?? generatedPassword ?? '' },
    metrics: createMetrics(),
    log,
    watchdog: watchForStalls(lifecycle, log),
    version,
    keys: context.keys,
    ...listening,
  });
  lifecycle.opened('web', () => service.stop());
  return { port: service.port, user, generatedPassword };
}
