/**
 * An embedded Postgres for `demo` and `start all`. Nothing has to be installed; data is kept in the data folder, and
 * after a crash the next start continues with the committed data.
 */
import { chmod, realpath, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { exitCodes, PurserError } from '../../errors.ts';
import { makeDataFolder } from './make-folder.ts';
import type { Logger } from '../../log.ts';
import { connect } from '../connect.ts';
import type { Sql } from '../connect.ts';
import { findBinaries } from './binaries.ts';
import { bootstrapUser, initialise, launch, readPasswords } from './cluster.ts';
import { takeOwnership } from './owner.ts';
import { defaultRoots, findPlace } from './data-folder.ts';

/** Purser's own login and database. */
const loginName = 'purser';
const logKeptBytes = 10 * 1024 * 1024;

export interface EmbeddedOptions {
  /** PURSER_DATA_DIR: files go to its subfolder `postgres`. Created if missing. */
  readonly dataDir: string;
  readonly log?: Logger;
  /** false for tests: no fsync, and after stop the whole of `dataDir` is deleted. Default true. */
  readonly durable?: boolean;
  /** Folders to use if Postgres' user cannot reach `dataDir`, in order of preference. */
  readonly relocationRoots?: readonly string[];
  /** Further settings of postgresql.conf, e.g. `{ max_connections: '200' }`. */
  readonly settings?: Readonly<Record<string, string>>;
}

export interface EmbeddedPostgres {
  /** As the login `purser` (LOGIN CREATEROLE, no superuser), owner of the database `purser`. */
  readonly url: string;
  /** As the bootstrap superuser, on the database `postgres`. For administration only. */
  readonly bootstrapUrl: string;
  /** The cluster's data folder, which may be outside `PURSER_DATA_DIR`: see `description`. */
  readonly dataDir: string;
  /** E.g. `18.4`. */
  readonly version: string;
  /** A sentence for display: version, port, location of the data, user that runs it. */
  readonly description: string;
  /** Fast shutdown; returns when Postgres has stopped. Close your pools first. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Starts the data folder's Postgres, and creates it if it does not exist.
 * @throws PurserError (exit 69) `data_folder_in_use` naming the owner's pid, `data_folder_lost`,
 *   `data_folder_unreachable`, `data_folder_damaged`, `embedded_postgres_missing`,
 *   `embedded_postgres_unusable`, `embedded_postgres_failed`, `no_unprivileged_user`
 */
export async function startEmbeddedPostgres(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  if (process.platform === 'win32') {
    throw new PurserError(
      'embedded_postgres_missing',
      'the embedded Postgres does not run on Windows. Set DATABASE_URL, or use WSL.',
      { exitCode: exitCodes.unavailable },
    );
  }
  const home = await ensureHome(options.dataDir);
  const ownership = await takeOwnership(home);
  try {
    return await startOwned(home, options, () => ownership.release());
  } catch (error) {
    if (options.durable === false) await rm(options.dataDir, { recursive: true, force: true });
    else await ownership.release();
    throw error;
  }
}

async function startOwned(
  home: string,
  options: EmbeddedOptions,
  release: () => Promise<void>,
): Promise<EmbeddedPostgres> {
  const durable = options.durable ?? true;
  const roots = options.relocationRoots ?? defaultRoots(durable);
  const place = await findPlace(home, roots);
  const binaries = await findBinaries(place.user, roots);
  const passwords = await readPasswords(home, place);
  if (!place.initialised) await initialise(place, binaries, passwords.bootstrap, durable);
  const logFile = join(home, 'postgres.log');
  await rotateLog(logFile);
  const cluster = await launch({
    place,
    binaries,
    logFile,
    settings: {
      ...(durable ? {} : { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }),
      ...options.settings,
    },
    removeAfter: durable ? null : options.dataDir,
    onTrouble: (what) => options.log?.error({ what, logFile }, 'embedded_postgres_trouble'),
  });
  try {
    const address = `127.0.0.1:${cluster.port}`;
    const bootstrapUrl = `postgres://${bootstrapUser}:${passwords.bootstrap}@${address}/postgres`;
    const version = await ensureLogin(bootstrapUrl, passwords.login);
    const description =
      `Postgres ${version} on ${address}, data in ${place.clusterDir}` +
      (place.user === null ? '' : `, running as ${place.user.name} because it refuses root`) +
      (place.relocated ? ` (which cannot reach ${home})` : '') +
      (binaries.copiedTo === null ? '' : `, binaries copied to ${binaries.copiedTo}`);
    options.log?.info({ description, logFile }, 'embedded_postgres_started');
    return {
      url: `postgres://${loginName}:${passwords.login}@${address}/${loginName}`,
      bootstrapUrl,
      dataDir: place.clusterDir,
      version,
      description,
      stop: async () => {
        await cluster.stop();
        if (durable) await release();
      },
    };
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

async function ensureHome(dataDir: string): Promise<string> {
  // Others can traverse the folder (Postgres may run as another user) but not list it; files are 0600.
  await makeDataFolder(dataDir, 0o711);
  const home = join(dataDir, 'postgres');
  await makeDataFolder(home, 0o711);
  await chmod(home, process.getuid?.() === 0 ? 0o711 : 0o700);
  return realpath(home);
}

async function rotateLog(logFile: string): Promise<void> {
  const size = await stat(logFile).then(
    (facts) => facts.size,
    () => 0,
  );
  if (size > logKeptBytes) await rename(logFile, `${logFile}.1`);
}

/** Creates Purser's login and database if they are missing; returns the server's version. */
async function ensureLogin(bootstrapUrl: string, password: string): Promise<string> {
  const sql = connect(bootstrapUrl, { max: 1, applicationName: 'purser bootstrap' });
  try {
    const [facts] = await sql<{ version: string; login: boolean; database: boolean }[]>`
      select current_setting('server_version') as version,
             exists (select from pg_roles where rolname = ${loginName}) as login,
             exists (select from pg_database where datname = ${loginName}) as database`;
    if (facts?.login !== true) await createLogin(sql, password);
    if (facts?.database !== true) {
      await sql`create database ${sql(loginName)} owner ${sql(loginName)}`;
    }
    return facts?.version ?? 'unknown';
  } finally {
    await sql.end({ timeout: 5 });
  }
}

/** DDL takes no parameters, so the server quotes name and password with format(). */
async function createLogin(sql: Sql, password: string): Promise<void> {
  const [statement] = await sql<{ ddl: string }[]>`
    select format('create role %I login createrole nosuperuser nocreatedb password %L',
      ${loginName}::text, ${password}::text) as ddl`;
  if (statement === undefined) throw new Error('format() returned no row');
  await sql.unsafe(statement.ddl);
}
