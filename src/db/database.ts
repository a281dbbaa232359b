/**
 * The two pools of a process: `system` for the fleet's own tables, `tenant` for everything a handler does.
 * Which level of tenancy they stand on (L1, L2, L3) is decided here and nowhere else.
 */
import { exitCodes, PurserError } from '../errors.ts';
import { connect } from './connect.ts';
import type { Sql } from './connect.ts';
import type { TenantPool } from './tenant.ts';

export type TenancyLevel = 'L1' | 'L2' | 'L3';

export interface DatabaseOptions {
  readonly url: string;
  /** Level L3: the executors' own login. */
  readonly tenantUrl?: string | undefined;
  /** Set when `url` goes through a pooler in transaction mode; prepared statements are then off. */
  readonly pooled?: boolean | undefined;
  readonly tlsVerify?: boolean | undefined;
  readonly applicationName: string;
  readonly systemConnections: number;
  /** 0 when the process never runs tenant code. */
  readonly tenantConnections: number;
}

export interface Database {
  readonly system: Sql;
  readonly tenant: TenantPool;
  readonly level: TenancyLevel;
  readonly serverVersion: number;
  /** Namespace of this database's queue entries. */
  readonly fleetId: string;
  close(): Promise<void>;
}

interface Probe {
  migrated: boolean;
  version: number;
}

async function probe(
  sql: Sql,
): Promise<Probe & { usesRoles: boolean; fleetId: string; checks: boolean }> {
  const [found] = await sql<Probe[]>`
    select to_regclass('purser.tenancy') is not null as migrated,
           current_setting('server_version_num')::int / 10000 as version`;
  if (found?.migrated !== true) {
    throw new PurserError(
      'not_migrated',
      'this database has no Purser tables yet; run: purser migrate up',
      { exitCode: exitCodes.configuration },
    );
  }
  const [tenancy] = await sql<{ uses_roles: boolean; fleet_id: string }[]>`
    select uses_roles, fleet_id from purser.tenancy_mode()`;
  const checks = await sql`select set_config('client_connection_check_interval', '1000', true)`
    .then(() => true)
    .catch(() => false);
  return {
    ...found,
    usesRoles: tenancy?.uses_roles === true,
    fleetId: tenancy?.fleet_id ?? '',
    checks,
  };
}

/** Opens both pools. Throws `not_migrated` (exit 78), or the driver's error when the server is away. */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const base = { tlsVerify: options.tlsVerify, prepare: options.pooled !== true };
  const first = connect(options.url, { ...base, max: 1, applicationName: options.applicationName });
  const found = await probe(first).catch(async (error: unknown) => {
    await first.end({ timeout: 5 });
    throw error;
  });
  await first.end({ timeout: 5 });
  const level: TenancyLevel = found.usesRoles
    ? options.tenantUrl === undefined
      ? 'L2'
      : 'L3'
    : 'L1';
  const system = connect(options.url, {
    ...base,
    max: options.systemConnections,
    applicationName: options.applicationName,
    systemMarker: level === 'L1',
  });
  const tenant = connect(level === 'L3' ? (options.tenantUrl ?? options.url) : options.url, {
    ...base,
    max: Math.max(1, options.tenantConnections),
    applicationName: `${options.applicationName} tenant`,
  });
  return {
    system,
    tenant: { sql: tenant, switchRole: level === 'L2', checksConnection: found.checks },
    level,
    serverVersion: found.version,
    fleetId: found.fleetId,
    close: async () => {
      await Promise.all([tenant.end({ timeout: 5 }), system.end({ timeout: 5 })]);
    },
  };
}
