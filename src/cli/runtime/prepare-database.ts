/**
 * Prepares a database for the roles: Purser's tables and policies, BullMQ's tables, the built-in job types and
 * their schedules.
 */
import { randomBytes } from 'node:crypto';
import { disabledBuiltins, finopsJobTypes } from '../../builtins.ts';
import type { FinopsJobType } from '../../builtins.ts';
import type { Config } from '../../config.ts';
import { connect } from '../../db/connect.ts';
import {
  defaultLockWaitMs,
  migrationLockTimeoutMs,
  retryWhileLocked,
} from '../../db/locks/migration.ts';
import { migrateUp } from '../../db/migrate.ts';
import type { MigrateOptions, MigrateResult } from '../../db/migrate.ts';
import { loadBuiltins } from '../../handlers/index.ts';
import { toJobType } from '../../handlers/job-types.ts';
import { registerJobTypes } from '../../jobs/registration.ts';
import { migrateQueueTables } from '../../queues/backend.ts';
import { postgresAddress } from '../../tls.ts';
import { addMissingSchedules, defaultSchedules } from '../../schedules/defaults.ts';

export interface PrepareOptions extends Omit<MigrateOptions, 'folder'> {
  readonly url: string;
  /** Built-in FinOps job types to register, with their schedules; default all. */
  readonly finops?: readonly FinopsJobType[];
}

/** Idempotent. Throws what migrateUp throws. */
export async function prepareDatabase(options: PrepareOptions): Promise<MigrateResult> {
  const { url, finops = finopsJobTypes, ...migrate } = options;
  const { tlsVerify, lockWaitMs = defaultLockWaitMs, onWait } = migrate;
  const result = await migrateUp(url, migrate);
  const { serverVersion } = result;
  const applicationName = `purser migrate ${randomBytes(4).toString('hex')}`;
  const sql = connect(url, {
    max: 2,
    applicationName,
    tlsVerify,
    serverVersion,
    systemMarker: !result.usesRoles,
    lockTimeoutMs: migrationLockTimeoutMs,
  });
  const names = [applicationName, `${applicationName} queues`];
  const retry = <T>(what: string, step: () => Promise<T>): Promise<T> =>
    retryWhileLocked({ watch: sql, names, lockWaitMs, onWait }, what, step);
  try {
    await retry('the tables of the queues', () =>
      migrateQueueTables({
        databaseUrl: url,
        databaseTlsVerify: tlsVerify,
        serverVersion,
        applicationName,
        lockTimeoutMs: migrationLockTimeoutMs,
      }),
    );
    const types = (await loadBuiltins(finops)).map(toJobType);
    await retry('the job types', () => registerJobTypes(sql, types));
    const disabled: readonly string[] = disabledBuiltins(finops);
    const schedules = defaultSchedules.filter(({ jobType }) => !disabled.includes(jobType));
    await retry('the schedules', () => addMissingSchedules(sql, schedules));
  } finally {
    await sql.end({ timeout: 5 });
  }
  return result;
}

/** The connection of `migrate`, which never goes through a pooler. */
export function prepareOptionsOf(config: Config, url: string): PrepareOptions {
  const tenantUrl = config.TENANT_DATABASE_URL;
  return {
    url: config.DATABASE_DIRECT_URL ?? url,
    tlsVerify: config.DATABASE_TLS_VERIFY,
    finops: config.PURSER_BUILTINS,
    tenantLogin: tenantUrl === undefined ? undefined : postgresAddress(tenantUrl, undefined).user,
  };
}
