/** A private Postgres for the measurements of money, with the settings of bench:jobs. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from '../../src/db/connect.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import { migrateUp } from '../../src/db/migrate.ts';
import { postgresSettings } from '../jobs/servers.ts';

export interface BenchPostgres {
  readonly version: string;
  /** Makes a migrated database and returns its URL. */
  database(name: string): Promise<string>;
  /** As the superuser. */
  adminUrl(name: string): string;
  /** Stops the server and deletes its data. Close your pools first. */
  stop(): Promise<void>;
}

/** `settings` are further ones of Postgres. fsync and synchronous commit are on unless they say otherwise. */
export async function startBenchPostgres(
  settings: Readonly<Record<string, string>> = {},
): Promise<BenchPostgres> {
  const folder = await mkdtemp(join(tmpdir(), 'purser-bench-'));
  const server = await startEmbeddedPostgres({
    dataDir: folder,
    settings: { ...postgresSettings, ...settings },
  });
  const admin = connect(server.bootstrapUrl, { max: 1, applicationName: 'bench setup' });
  const { pathname, username } = new URL(server.url);
  return {
    version: server.version,
    database: async (name) => {
      await admin`create database ${admin(name)} owner ${admin(username)}`;
      const url = server.url.replace(new RegExp(`${pathname}$`), `/${name}`);
      await migrateUp(url);
      return url;
    },
    adminUrl: (name) => {
      const url = new URL(server.bootstrapUrl);
      url.pathname = `/${name}`;
      return url.href;
    },
    stop: async () => {
      await admin.end({ timeout: 5 });
      await server.stop();
      await rm(server.dataDir, { recursive: true, force: true });
      await rm(folder, { recursive: true, force: true });
    },
  };
}
