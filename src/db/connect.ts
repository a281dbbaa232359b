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
  /** Keep statements by name. Default true; never behind a pooler. */
  readonly prepare?: boolean | undefined;
  /** Whether a pooler stands, or may stand, in between. Default false. */
  readonly pooled?: boolean | undefined;
  /** The server ends a transaction that waits for longer between two statements. PgBouncer takes no such word. */
  readonly idleInTransactionMs?: number | undefined;
  /** Level L1 only: marks the sessions of this pool as the system's. */
  readonly systemMarker?: boolean | undefined;
}

/** Opens a lazy pool. numeric and int8 come back as strings, timestamptz as Date, jsonb parsed. */
export function connect(url: string, options: ConnectOptions): Sql {
  const address = postgresAddress(url, options.tlsVerify);
  const { pooled = false, prepare = true, idleInTransactionMs } = options;
  return postgres(address.url, {
    max: options.max,
    prepare: prepare && !pooled,
    // PgBouncer lends the server connection on at a transaction's end, although the driver has asked more by
    // then (what types its parameters have); that answer is never heard, and the connection waits for ever.
    ...(pooled ? { max_pipeline: 0 } : {}),
    idle_timeout: 60,
    connect_timeout: 10,
    onnotice: () => {},
    ssl: address.tls,
    connection: {
      application_name: options.applicationName,
      ...(idleInTransactionMs === undefined
        ? {}
        : { idle_in_transaction_session_timeout: idleInTransactionMs }),
      ...(options.systemMarker === true ? { 'purser.system': 'on' } : {}),
    },
  });
}
