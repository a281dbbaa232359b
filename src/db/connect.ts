/**
 * Connections to Postgres. Pools are opened only here and in queues/backend.ts (BullMQ's Postgres backend needs
 * another driver); every pool sets an application name.
 */
import postgres from 'postgres';
import { postgresAddress } from '../tls.ts';
import { assertDriverPatched } from './driver.ts';
import { startupParameters } from '../session-settings.ts';

export type Sql = postgres.Sql;
export type Tx = postgres.TransactionSql;
/** A pool or a transaction: what a statement needs. */
export type Queryable = postgres.ISql;
/** A part of a statement. */
export type Fragment = postgres.PendingQuery<postgres.Row[]>;

/** Thrown in `atomically` where another transaction has just added what was read as absent: `run` is repeated. */
export class Overtaken extends Error {}

const maxRuns = 5;

/** Runs `run` in a transaction, or in a part of the caller's transaction that can fail alone. */
export async function atomically<T>(sql: Sql | Tx, run: (tx: Tx) => Promise<T>): Promise<T> {
  const whole = async (tx: Tx) => ({ value: await run(tx) });
  for (let runs = 1; ; runs += 1) {
    try {
      const made = await ('savepoint' in sql ? sql.savepoint(whole) : sql.begin(whole));
      return made.value;
    } catch (error) {
      if (!(error instanceof Overtaken) || runs === maxRuns) throw error;
    }
  }
}

export interface ConnectOptions {
  /** Maximum number of connections. */
  readonly max: number;
  /** Shown in pg_stat_activity, e.g. `purser worker`. */
  readonly applicationName: string;
  /** true: TLS with the certificate checked; false: TLS with any certificate; undefined: the URL's sslmode decides. */
  readonly tlsVerify?: boolean | undefined;
  /** Use named prepared statements. Default true; never behind a pooler. */
  readonly prepare?: boolean | undefined;
  /** Whether the connection goes, or may go, through a pooler. Default false. */
  readonly pooled?: boolean | undefined;
  /** Send every session setting although a pooler may stand between, which refuses the connection. Default false. */
  readonly allSettings?: boolean | undefined;
  /** Major version of the server, once it is known. */
  readonly serverVersion?: number | undefined;
  /** The server ends a transaction that is idle for longer. PgBouncer refuses this setting. */
  readonly idleInTransactionMs?: number | undefined;
  /** A statement that waits longer for a lock fails (55P03). PgBouncer refuses this setting. */
  readonly lockTimeoutMs?: number | undefined;
  /** Level L1 only: marks the sessions of this pool as system sessions. */
  readonly systemMarker?: boolean | undefined;
  /** Never close a connection for idleness or age. Default false. */
  readonly keepOpen?: boolean | undefined;
  /** Called with the SQLSTATE of every notice. */
  readonly onNotice?: ((code: string) => void) | undefined;
  /** Called with the channel of every notification for a connection of this pool that listens. */
  readonly onNotify?: ((channel: string) => void) | undefined;
  /** Called when a connection has closed, or could not be opened. */
  readonly onClose?: (() => void) | undefined;
}

/**
 * Opens a lazy pool. numeric and int8 come back as strings, timestamptz as Date, jsonb parsed.
 * Throws `driver_not_patched` (exit 78).
 */
export function connect(url: string, options: ConnectOptions): Sql {
  assertDriverPatched();
  const { tls, host, port, connectTimeoutS, ...login } = postgresAddress(url, options.tlsVerify);
  const { pooled = false, prepare = true, idleInTransactionMs, lockTimeoutMs } = options;
  // In lists, which its types lack, as they lack onnotify: the driver would take what follows a colon of an IPv6 address for a port.
  const place: object = host.startsWith('/')
    ? { path: `${host}/.s.PGSQL.${port}` }
    : { host: [host], port: [port] };
  const { onNotify } = options;
  const notifications: object = onNotify === undefined ? {} : { onnotify: onNotify };
  return postgres({
    ...login,
    ...place,
    ...notifications,
    max: options.max,
    prepare: prepare && !pooled,
    // PgBouncer assigns the server connection to another client when a transaction ends, even if the driver has
    // already sent another message (a Describe for parameter types). The answer is lost and the client waits for ever.
    ...(pooled ? { max_pipeline: 0 } : {}),
    connect_timeout: connectTimeoutS,
    onnotice: ({ code }) => options.onNotice?.(code ?? ''),
    onclose: () => options.onClose?.(),
    ...(options.keepOpen === true ? { idle_timeout: 0, max_lifetime: null } : { idle_timeout: 60 }),
    ssl: tls,
    connection: {
      application_name: options.applicationName,
      ...startupParameters(
        pooled && options.allSettings !== true ? 'pooler' : 'server',
        options.serverVersion,
      ),
      ...(idleInTransactionMs === undefined
        ? {}
        : { idle_in_transaction_session_timeout: idleInTransactionMs }),
      ...(lockTimeoutMs === undefined ? {} : { lock_timeout: lockTimeoutMs }),
      ...(options.systemMarker === true ? { 'purser.system': 'on' } : {}),
    },
  });
}
