/**
 * What the demo works on: a private Postgres (or the one that the environment names) and a data set.
 */
import { createWriteStream } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Config } from '../../config.ts';
import { startEmbeddedPostgres } from '../../db/embedded/embedded.ts';
import { UsageError } from '../../errors.ts';
import { makeDataFolder } from '../../folder.ts';
import { sampleFocusFile } from '../../costs/sample/data.ts';
import type { Lifecycle } from '../../process/lifecycle.ts';
import type { Invocation } from '../terminal/command.ts';
import { inputFile } from '../terminal/input-file.ts';
import { prepareDatabase, prepareOptionsOf } from '../runtime/prepare-database.ts';

export interface Session {
  readonly invocation: Invocation;
  readonly config: Config;
  readonly lifecycle: Lifecycle;
}

/** The demo never touches a production database; --data always means a database of its own. */
export async function chooseDatabase({ invocation, config, lifecycle }: Session): Promise<Config> {
  if (config.ENVIRONMENT === 'production') {
    throw new UsageError(
      'the demo adds tenants and spends budgets: it does not run with ENVIRONMENT=production',
    );
  }
  const ownFolder = invocation.value('data');
  const dataDir = ownFolder === undefined ? config.PURSER_DATA_DIR : resolve(ownFolder);
  if (config.DATABASE_URL !== undefined && ownFolder === undefined) {
    invocation.note('using the database of DATABASE_URL');
    await prepareDatabase(prepareOptionsOf(config, config.DATABASE_URL));
    return { ...config, PURSER_DATA_DIR: dataDir };
  }
  invocation.note('starting a private Postgres ...');
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

/** The given file, or the generated one, whose bytes are the same in every run. */
export async function chooseFile(invocation: Invocation, dataDir: string): Promise<string> {
  const given = invocation.value('focus');
  if (given !== undefined) return inputFile(given);
  const path = join(dataDir, 'sample-focus.csv');
  await makeDataFolder(dataDir, 0o711);
  await pipeline(Readable.from(sampleFocusFile()), createWriteStream(`${path}.new`));
  await rename(`${path}.new`, path);
  invocation.note(`generated a FOCUS export of twelve made-up companies: ${path}`);
  return path;
}
