/** How a process reaches its database, from the configuration. */
import type { Config } from '../../config.ts';
import type { DatabaseOptions } from '../../db/database.ts';
import { assertSameDatabase } from '../../db/pooler.ts';
import { exitCodes, PurserError } from '../../errors.ts';

export interface ServiceNeeds {
  readonly name: string;
  readonly systemConnections: number;
  /** Connections of this thread; default none. */
  readonly tenantConnections?: number;
  /** Whether worker threads of this process run tenant code. */
  readonly tenantThreads?: boolean;
  /** Of its system statements that have none of their own. Default none. */
  readonly lockTimeoutMs?: number;
}

/** Returns DATABASE_URL. Throws `invalid_configuration` (exit 78) when it is not set. */
export function databaseUrl(config: Config): string {
  if (config.DATABASE_URL !== undefined) return config.DATABASE_URL;
  throw new PurserError(
    'invalid_configuration',
    'DATABASE_URL is not set. Example: DATABASE_URL=postgres://user:password@host:5432/purser\n' +
      '  Only `purser demo` and `purser start all` can start an embedded database; while one runs, use the line that it printed.',
    { exitCode: exitCodes.configuration },
  );
}

/** The variable with the address that goes through no pooler. */
export const directVariable = (config: Config): string =>
  config.DATABASE_DIRECT_URL === undefined ? 'DATABASE_URL' : 'DATABASE_DIRECT_URL';

/** The variable with the address of the queue store. */
export const queueVariable = (config: Config): string =>
  config.REDIS_URL === undefined ? directVariable(config) : 'REDIS_URL';

/** Throws like `databaseUrl`. */
export function databaseOptions(config: Config, needs: ServiceNeeds): DatabaseOptions {
  return {
    url: databaseUrl(config),
    tenantUrl: config.TENANT_DATABASE_URL,
    pooled: config.DATABASE_DIRECT_URL !== undefined,
    tlsVerify: config.DATABASE_TLS_VERIFY,
    applicationName: `purser ${needs.name}`,
    systemConnections: needs.systemConnections,
    tenantConnections: needs.tenantConnections ?? 0,
    tenantThreads: needs.tenantThreads,
    lockTimeoutMs: needs.lockTimeoutMs,
  };
}

/** Throws `direct_url_differs` (exit 78) where DATABASE_DIRECT_URL is set and names another database. */
export async function assertDirectUrl(config: Config, applicationName: string): Promise<void> {
  const { DATABASE_DIRECT_URL: direct, DATABASE_TLS_VERIFY: tlsVerify } = config;
  if (direct === undefined) return;
  await assertSameDatabase(databaseUrl(config), direct, { tlsVerify, applicationName });
}
