/** The demo's database: the one of DATABASE_URL, or an embedded Postgres in the data folder. */
import { resolve } from 'node:path';
import type { Config } from '../../config.ts';
import { startEmbeddedPostgres } from '../../db/embedded/embedded.ts';
import { UsageError } from '../../errors.ts';
import type { Lifecycle } from '../../process/lifecycle.ts';
import { directVariable } from '../runtime/database-options.ts';
import { prepareDatabase, prepareOptionsOf } from '../runtime/prepare-database.ts';
import { using } from '../runtime/unreachable.ts';
import type { Invocation } from '../terminal/command.ts';

export interface DemoRun {
  readonly invocation: Invocation;
  readonly config: Config;
  readonly lifecycle: Lifecycle;
}

/** Returns the configuration with the database's URL. Refuses production; --data always starts an embedded Postgres. */
export async function chooseDatabase({ invocation, config, lifecycle }: DemoRun): Promise<Config> {
  if (config.ENVIRONMENT === 'production') {
    throw new UsageError(
      'the demo adds tenants and spends budgets; it does not run with ENVIRONMENT=production',
    );
  }
  const ownFolder = invocation.value('data');
  const dataDir = ownFolder === undefined ? config.PURSER_DATA_DIR : resolve(ownFolder);
  if (config.DATABASE_URL !== undefined && ownFolder === undefined) {
    invocation.note('using the database of DATABASE_URL');
    const options = prepareOptionsOf(config, config.DATABASE_URL);
    await using(directVariable(config), () => prepareDatabase(options));
    return { ...config, PURSER_DATA_DIR: dataDir };
  }
  invocation.note('starting an embedded Postgres ...');
  const embedded = await startEmbeddedPostgres({ dataDir });
  lifecycle.opened('embedded Postgres', () => embedded.stop());
  invocation.note(embedded.description);
  const own = {
    ...config,
    PURSER_DATA_DIR: dataDir,
    DATABASE_URL: embedded.url,
    TENANT_DATABASE_URL: undefined,
    DATABASE_DIRECT_URL: undefined,
    DATABASE_TLS_VERIFY: undefined,
  };
  await prepareDatabase(prepareOptionsOf(own, embedded.url));
  return own;
}
