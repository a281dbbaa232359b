/** Opens the database for one command and always closes it. */
import type { Config } from '../../config.ts';
import type { Database } from '../../db/database.ts';
import { Lifecycle } from '../../process/lifecycle.ts';
import { createLogger } from '../../log.ts';
import { openServiceDatabase } from './services.ts';

export interface CommandServices {
  readonly database: Database;
  readonly lifecycle: Lifecycle;
}

/** Runs `fn` with a system pool of two connections and, if `tenantConnections` is set, a tenant pool. */
export async function withDatabase<T>(
  config: Config,
  fn: (services: CommandServices) => Promise<T>,
  tenantConnections = 0,
): Promise<T> {
  const log = createLogger({
    level: config.LOG_LEVEL === 'info' ? 'warn' : config.LOG_LEVEL,
    role: 'cli',
  });
  const lifecycle = new Lifecycle(log);
  try {
    const database = await openServiceDatabase(config, lifecycle, {
      name: 'cli',
      systemConnections: 2,
      tenantConnections,
    });
    return await fn({ database, lifecycle });
  } finally {
    await lifecycle.close();
  }
}
