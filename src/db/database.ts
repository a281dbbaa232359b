/**
 * The pools of a process: `system` for the tables of the fleet, `tenant` for the SQL of handlers. The level of
 * tenancy (L1, L2, L3) is determined here.
 */
import { exitCodes, messageOf, PurserError } from '../errors.ts';
import { explainTls, isLoginFault, loginFaultText } from '../connection-faults.ts';
import { redactUrls } from '../log.ts';
import { connect } from './connect.ts';
import type { Sql } from './connect.ts';
import { isStoreUnavailable } from './store-errors.ts';
import { detectPooler, openWithSettings } from './pooler.ts';
import type { Pooler, SettingsToSend } from './pooler.ts';
import { assertSessionSettings } from './check-settings.ts';
import { superuserSettings } from '../session-settings.ts';
import { assertTenantLogin, refuseTenantLogin } from './login-rights.ts';
import { databaseUnavailable } from './guard/outage.ts';
import { openTenantPool } from './tenant-pool.ts';
import type { TenantAccess } from './tenant-pool.ts';
import type { TenantPool } from './tenant.ts';

export type TenancyLevel = 'L1' | 'L2' | 'L3';

export interface DatabaseOptions {
  readonly url: string;
  /** Level L3: the login that handlers use. */
  readonly tenantUrl?: string | undefined;
  /** Set when `url` is known to go through a pooler; otherwise a pooler is detected. */
  readonly pooled?: boolean | undefined;
  readonly tlsVerify?: boolean | undefined;
  readonly applicationName: string;
  readonly systemConnections: number;
  /** Size of this thread's tenant pool; 0 when this thread runs no tenant code. */
  readonly tenantConnections: number;
  /** Other threads run tenant code, so the tenant login of level L3 is checked for them. */
  readonly tenantThreads?: boolean | undefined;
  /** Aborted when the caller no longer waits: what was opened is closed. */
  readonly signal?: AbortSignal | undefined;
  /** Of the system statements, where no pooler stands between. Default none. */
  readonly lockTimeoutMs?: number | undefined;
}

export interface Database {
  readonly system: Sql;
  /** One connection used only for leases, so that a renewal never waits behind another statement. */
  readonly leases: Sql;
  readonly tenant: TenantPool;
  /** For threads and processes that open their own tenant pool. */
  readonly tenantAccess: TenantAccess;
  readonly level: TenancyLevel;
  readonly serverVersion: number;
  /** Namespace of this database's queue entries. */
  readonly fleetId: string;
  /** The kind of pooler between `system` and the server. */
  readonly pooler: Pooler;
  /** Calls `listener` with the channel of every notification that a connection of `system` hears. */
  readonly onNotify: (listener: (channel: string) => void) => void;
  /** Runs `fn` on a connection of its own, as one of `system`, which is closed after it or when `signal` aborts. */
  once<T>(signal: AbortSignal, fn: (sql: Sql) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/**
 * Between two statements, a transaction of the fleet is idle only for a round trip. Without this limit, the locks of
 * a client that disappeared without closing its connection (half-open network) would block others for hours.
 */
const idleInTransactionMs = 20_000;

interface Probe {
  migrated: boolean;
  /** Identifies the database on its running server; a copy has another identity. */
  identity: string;
  version: number;
}

async function probe(
  sql: Sql,
): Promise<Probe & { usesRoles: boolean; fleetId: string; checks: boolean; bound: boolean }> {
  const [found] = await sql<Probe[]>`
    select to_regclass('purser.tenancy') is not null as migrated,
           current_setting('server_version_num')::int / 10000 as version,
           (current_database(), pg_postmaster_start_time())::text as identity`;
  if (found?.migrated !== true) {
    throw new PurserError(
      'not_migrated',
      'this database has no Purser tables yet; run: purser migrate up',
      { exitCode: exitCodes.configuration },
    );
  }
  const [tenancy] = await sql<{ uses_roles: boolean; fleet_id: string; bound: boolean }[]>`
    select uses_roles, fleet_id, not (rolsuper or rolbypassrls) as bound
    from purser.tenancy_mode(), pg_roles where rolname = current_user`;
  const checks = await sql`select set_config('client_connection_check_interval', '1000', true)`
    .then(() => true)
    .catch((error: unknown) => {
      if (isStoreUnavailable(error)) throw error;
      return false;
    });
  return {
    ...found,
    usesRoles: tenancy?.uses_roles === true,
    fleetId: tenancy?.fleet_id ?? '',
    bound: tenancy?.bound === true,
    checks,
  };
}

/** A connection whose other side does not answer would hold its statement without an end. */
function endOnAbort(signal: AbortSignal | undefined, sql: Sql): Sql {
  signal?.addEventListener('abort', () => void sql.end({ timeout: 0 }), { once: true });
  return sql;
}

async function probeThrough(open: (settings: SettingsToSend) => Sql) {
  const first = await openWithSettings(open);
  try {
    const found = await probe(first);
    const pooler = await detectPooler(first, () => open({ allSettings: false }));
    // A pooler that ignores what it was sent leaves the server's own values.
    await assertSessionSettings(first);
    return { found, pooler };
  } finally {
    await first.end({ timeout: 5 });
  }
}

/**
 * Opens both pools. Throws `not_migrated`, `login_unbound`, `session_settings_refused` or `pooler_refused` (exit 78), `certificate_refused` (exit 69),
 * or the driver's error when the server is unavailable.
 */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const { applicationName, tlsVerify } = options;
  const { found, pooler } = await probeThrough((settings) =>
    endOnAbort(
      options.signal,
      connect(options.url, { max: 1, applicationName, tlsVerify, pooled: true, ...settings }),
    ),
  ).catch((error: unknown) => {
    throw explainTls(error, 'Postgres');
  });
  const pooled = options.pooled === true || pooler !== 'none';
  const level: TenancyLevel = found.usesRoles
    ? options.tenantUrl === undefined
      ? 'L2'
      : 'L3'
    : 'L1';
  if (level === 'L1' && !found.bound) {
    throw new PurserError(
      'login_unbound',
      'the login of DATABASE_URL is a superuser or has BYPASSRLS: at tenancy level L1 handlers use this login, and ' +
        'row-level security would not apply to them. Use a plain login, or one with CREATEROLE and migrate again (level L2)',
      { exitCode: exitCodes.configuration },
    );
  }
  if (level === 'L1' && pooler !== 'none') {
    throw new PurserError(
      'pooler_refused',
      'tenancy level L1 marks its sessions, and a pooler does not preserve the mark. Set DATABASE_URL to the ' +
        'database itself, or grant its login CREATEROLE and migrate again (level L2)',
      { exitCode: exitCodes.configuration },
    );
  }
  const openSystem = (max: number, onNotify?: (channel: string) => void): Sql =>
    connect(options.url, {
      tlsVerify,
      pooled,
      serverVersion: found.version,
      idleInTransactionMs: pooled ? undefined : idleInTransactionMs,
      lockTimeoutMs: pooled ? undefined : options.lockTimeoutMs,
      max,
      applicationName,
      systemMarker: level === 'L1',
      onNotify,
    });
  const listeners: ((channel: string) => void)[] = [];
  const system = openSystem(options.systemConnections, (channel) => {
    for (const listener of listeners) listener(channel);
  });
  const leases = openSystem(1);
  const tenantAccess: TenantAccess = {
    url: level === 'L3' ? (options.tenantUrl ?? options.url) : options.url,
    tlsVerify,
    pooled,
    serverVersion: found.version,
    switchRole: level === 'L2',
    checksConnection: found.checks,
    sharesSessions: level === 'L2' && pooler === 'transaction',
  };
  const tenant = openTenantPool(tenantAccess, {
    max: Math.max(1, options.tenantConnections),
    applicationName: `${applicationName} tenant`,
  });
  const close = async (): Promise<void> => {
    await Promise.all([tenant.close(), system.end({ timeout: 5 }), leases.end({ timeout: 5 })]);
  };
  options.signal?.addEventListener('abort', () => void close(), { once: true });
  options.signal?.throwIfAborted();
  if (level === 'L3' && (options.tenantConnections > 0 || options.tenantThreads === true)) {
    try {
      await tenant.sessions.use(async ({ sql }) => {
        await assertTenantLogin(sql, found.identity);
        await assertSessionSettings(sql, superuserSettings);
      });
    } catch (error) {
      await close();
      const thrown = error instanceof PurserError ? (error.cause ?? error) : error;
      const cause = explainTls(thrown, 'Postgres');
      if (cause instanceof PurserError) throw cause;
      const isRefused = isLoginFault(cause);
      if (!isRefused && isStoreUnavailable(cause)) {
        // Another server than that of DATABASE_URL may stand behind it, such as a pooler.
        throw databaseUnavailable(
          `TENANT_DATABASE_URL: cannot connect (${redactUrls(messageOf(cause))}); check its address, and that the ` +
            'service is running',
          cause,
        );
      }
      if (!isRefused && error instanceof PurserError) throw error;
      refuseTenantLogin(
        `its login cannot use this database as a tenant (${loginFaultText(cause) ?? redactUrls(messageOf(cause))}); check it and run: purser migrate up`,
        cause,
      );
    }
  }
  options.signal?.throwIfAborted();
  return {
    system,
    leases,
    tenant,
    tenantAccess,
    level,
    serverVersion: found.version,
    fleetId: found.fleetId,
    pooler,
    onNotify: (listener) => void listeners.push(listener),
    once: async (signal, fn) => {
      const own = endOnAbort(signal, openSystem(1));
      try {
        return await fn(own);
      } finally {
        await own.end({ timeout: 1 });
      }
    },
    close,
  };
}
