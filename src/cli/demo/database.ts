/** The demo's database: the one of DATABASE_URL, or an embedded Postgres in the data folder. */
import { resolve } from 'node:path';
import type { Config } from '../../config.ts';
import { startEmbeddedPostgres } from '../../db/embedded/embedded.ts';
import { UsageError } from '../../errors.ts';
import type { Lifecycle } from '../../process/lifecycle.ts';
import { directVariable } from '../runtime/database-options.ts';
import { prepareDatabase, prepareOptionsOf } from '../runtime/prepare-database.ts';
import { using } from '../runtime/unreachable.ts';
import { placeOf } from '../runtime/store-place.ts';
import { agrees, canAsk } from '../terminal/confirm.ts';
import type { Invocation } from '../terminal/command.ts';

export interface DemoRun {
  readonly invocation: Invocation;
  readonly config: Config;
  readonly lifecycle: Lifecycle;
}

/** Throws a usage error where nobody agrees that the demo writes into a database that is not its own. */
async function askForWrites(invocation: Invocation, config: Config): Promise<void> {
  if (invocation.flag('here')) return;
  const focus = invocation.value('focus');
  const tenants = focus === undefined ? 'twelve made-up tenants' : `the tenants of ${focus}`;
  const what = `DATABASE_URL is set: the demo would migrate the database on ${placeOf(config, 'DATABASE_URL') ?? ''} and add ${tenants} with their costs`;
  if (canAsk() && (await agrees(`${what}. Go on?`))) return;
  throw new UsageError(
    `${what}.\n  Add --here to do so, or --data DIR to use an embedded Postgres in that folder`,
  );
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
    await askForWrites(invocation, config);
    invocation.note('using the database of DATABASE_URL');
    const options = prepareOptionsOf(config, config.DATABASE_URL);
    await using(config, directVariable(config), () => prepareDatabase(options));
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
