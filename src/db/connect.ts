/**
 * Connections to Postgres. Every pool names itself, and no pool is opened but here and in
 * queues/backend.ts (BullMQ's own Postgres backend needs another driver).
 */
import postgres from 'postgres';
import { postgresAddress } from '../tls.ts';

export type Sql = postgres.Sql;
export type Tx = postgres.TransactionSql;
/** A pool or a transaction: what a statement needs. */
export type Queryable = postgres.ISql;

export interface ConnectOptions {
  /** Most connections of this pool. */
  readonly max: number;
  /** Shown in pg_stat_activity, e.g. `purser worker`. */
  readonly applicationName: string;
  /** undefined: as the URL's sslmode says; true: TLS, certificate checked; false: TLS, not checked. */
  readonly tlsVerify?: boolean | undefined;
  /** Off behind a pooler in transaction mode. Default true. */
  readonly prepare?: boolean | undefined;
  /** Level L1 only: marks the sessions of this pool as the system's. */
  readonly systemMarker?: boolean | undefined;
}

/** Opens a lazy pool. numeric and int8 come back as strings, timestamptz as Date, jsonb parsed. */
export function connect(url: string, options: ConnectOptions): Sql {
  const address = postgresAddress(url, options.tlsVerify);
  return postgres(address.url, {
    max: options.max,
    prepare: options.prepare ?? true,
    idle_timeout: 60,
    connect_timeout: 10,
    onnotice: () => {},
    ssl: address.tls,
    connection: {
      application_name: options.applicationName,
      ...(options.systemMarker === true ? { 'purser.system': 'on' } : {}),
    },
  });
}
