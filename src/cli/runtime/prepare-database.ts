/**
 * Prepares a database for the roles: Purser's tables and policies, BullMQ's tables, the built-in job types and
 * their schedules.
 */
import { disabledBuiltins, finopsJobTypes } from '../../builtins.ts';
import type { FinopsJobType } from '../../builtins.ts';
import type { Config } from '../../config.ts';
import { connect } from '../../db/connect.ts';
import { migrateUp } from '../../db/migrate.ts';
import type { MigrateResult } from '../../db/migrate.ts';
import { loadBuiltins } from '../../handlers/index.ts';
import { toJobType } from '../../handlers/job-types.ts';
import { registerJobTypes } from '../../jobs/registration.ts';
import { migrateQueueTables } from '../../queues/backend.ts';
import { addMissingSchedules, defaultSchedules } from '../../schedules/defaults.ts';

export interface PrepareOptions {
  readonly url: string;
  readonly tlsVerify?: boolean | undefined;
  readonly tenantLogin?: string | undefined;
  /** Built-in FinOps job types to register, with their schedules; default all. */
  readonly finops?: readonly FinopsJobType[];
  readonly onApplied?: (name: string) => void;
}

/** Idempotent. Throws what migrateUp throws. */
export async function prepareDatabase(options: PrepareOptions): Promise<MigrateResult> {
  const { url, tlsVerify, tenantLogin, onApplied, finops = finopsJobTypes } = options;
  const result = await migrateUp(url, {
    tlsVerify,
    tenantLogin,
    ...(onApplied === undefined ? {} : { onApplied }),
  });
  await migrateQueueTables({
    databaseUrl: url,
    databaseTlsVerify: tlsVerify,
    serverVersion: result.serverVersion,
    applicationName: 'purser migrate',
  });
  const sql = connect(url, {
    max: 1,
    applicationName: 'purser migrate',
    tlsVerify,
    serverVersion: result.serverVersion,
    systemMarker: !result.usesRoles,
  });
  try {
    await registerJobTypes(sql, (await loadBuiltins(finops)).map(toJobType));
    const disabled: readonly string[] = disabledBuiltins(finops);
    await addMissingSchedules(
      sql,
      defaultSchedules.filter(({ jobType }) => !disabled.includes(jobType)),
    );
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
    tenantLogin:
      tenantUrl === undefined ? undefined : decodeURIComponent(new URL(tenantUrl).username),
  };
}
