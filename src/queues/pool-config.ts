/** The configuration of a pg.Pool for the queues in Postgres: the same address, TLS and session as those of other pools. */
import { startupOptions } from '../session-settings.ts';
import { postgresAddress } from '../tls.ts';

export interface DatabaseOptions {
  /** Without a pooler in transaction mode, because of LISTEN. */
  readonly databaseUrl: string;
  readonly databaseTlsVerify?: boolean | undefined;
  readonly applicationName: string;
  readonly serverVersion?: number | undefined;
}

/** `settings` are added to those that every session has. */
export function poolConfig(options: DatabaseOptions, settings: Record<string, string> = {}) {
  const { tls, connectTimeoutS, ...address } = postgresAddress(
    options.databaseUrl,
    options.databaseTlsVerify,
  );
  return {
    ...address,
    application_name: `${options.applicationName} queues`,
    connectionTimeoutMillis: connectTimeoutS * 1_000,
    ssl: tls,
    // Otherwise the driver's default is PGSSLNEGOTIATION, and `direct` without TLS is an error.
    sslnegotiation: 'postgres' as const,
    options: startupOptions(options.serverVersion, settings),
  };
}
