/** The embedded database of `start all`, which is started and migrated where DATABASE_URL is not set. */
import type { Config } from '../../config.ts';
import { startEmbeddedPostgres } from '../../db/embedded/embedded.ts';
import type { Lifecycle } from '../../process/lifecycle.ts';
import { otherTerminals } from './other-terminals.ts';
import { prepareDatabase, prepareOptionsOf } from './prepare-database.ts';

/** Returns the configuration with its address; closed by the lifecycle. */
export async function embedDatabase(
  config: Config,
  lifecycle: Lifecycle,
  note: (line: string) => void,
): Promise<Config> {
  const embedded = await startEmbeddedPostgres({ dataDir: config.PURSER_DATA_DIR });
  lifecycle.opened('embedded Postgres', () => embedded.stop());
  note(embedded.description);
  await prepareDatabase(prepareOptionsOf(config, embedded.url));
  const changed = { ...config, DATABASE_URL: embedded.url };
  note(otherTerminals(changed));
  return changed;
}
