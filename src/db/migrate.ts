/**
 * Migrations: SQL files applied in order, one migration at a time, and recorded with their checksums. A file that
 * changed after it was applied is refused, and so is a database that is newer than this release.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exitCodes, messageOf, PurserError } from '../errors.ts';
import type { Queryable, Sql } from './connect.ts';
import { majorVersion } from './check-settings.ts';
import { hasLedger } from './locks/migration.ts';
import { withMigrationLock } from './locks/migration-sessions.ts';
import type { MigrationSessionOptions } from './locks/migration-sessions.ts';
import { admitTenantLogin, ensureRoles } from './roles.ts';

const defaultFolder = fileURLToPath(new URL('../../sql/', import.meta.url));
const noTransaction = /^--\s*purser:\s*no-transaction\s*$/m;

export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly checksum: string;
  readonly up: string;
  readonly down: string;
}

export interface MigrationStatus {
  readonly version: number;
  readonly name: string;
  readonly appliedAt: Date | null;
}

export interface MigrateOptions extends MigrationSessionOptions {
  readonly folder?: string;
  /** Login of TENANT_DATABASE_URL, which becomes a member of purser_tenant (level L3). */
  readonly tenantLogin?: string | undefined;
  readonly onApplied?: (name: string) => void;
}

export interface MigrateResult {
  readonly applied: readonly string[];
  readonly usesRoles: boolean;
  readonly serverVersion: number;
  /** True when this login may not grant purser_tenant to the tenant login. */
  readonly tenantLoginRefused: boolean;
}

/** Reads every sql/NNNN_name.sql with its down file, ordered by number. */
export async function loadMigrations(folder = defaultFolder): Promise<Migration[]> {
  const files = (await readdir(folder)).filter((file) => /^\d{4}_\w+\.sql$/.test(file)).toSorted();
  return Promise.all(
    files.map(async (file) => {
      const up = await readFile(join(folder, file), 'utf8');
      const down = await readFile(join(folder, file.replace(/\.sql$/, '.down.sql')), 'utf8');
      const checksum = createHash('sha256').update(up).digest('hex');
      return {
        version: Number(file.slice(0, 4)),
        name: file.slice(0, -4),
        checksum,
        up,
        down,
      };
    }),
  );
}

interface LedgerRow {
  version: number;
  name: string;
  checksum: string;
  applied_at: Date;
}

async function readLedger(sql: Sql): Promise<LedgerRow[]> {
  if (!(await hasLedger(sql))) return [];
  return sql<LedgerRow[]>`select * from purser.migrations order by version`;
}

/** An earlier version of Purser began with another first migration: nothing of it is continued. */
function beforeBaseline(baseline: Migration, ledger: readonly LedgerRow[]): PurserError {
  const [first, last] = [ledger[0]?.name, ledger.at(-1)?.name];
  const has =
    ledger.length === 1
      ? `migration ${first} of an earlier version of Purser`
      : `the ${ledger.length} migrations ${first} to ${last} of an earlier version of Purser`;
  return new PurserError(
    'before_baseline',
    `the database has ${has}; this version cannot continue them, its own begin with the baseline ${baseline.name}. ` +
      'Use an empty database (for an embedded Postgres an empty PURSER_DATA_DIR), or revert them and drop their data ' +
      `with the version that applied them (purser migrate down --steps ${ledger.length} --yes); then run: purser migrate up`,
    { exitCode: exitCodes.configuration },
  );
}

/** Throws `before_baseline`, `database_newer` or `migration_changed` when the ledger does not match these files. */
function assertLedgerFits(migrations: readonly Migration[], ledger: readonly LedgerRow[]): void {
  const [baseline] = migrations;
  const first = ledger.find(({ version }) => version === baseline?.version);
  if (baseline !== undefined && first !== undefined && first.name !== baseline.name) {
    throw beforeBaseline(baseline, ledger);
  }
  for (const row of ledger) {
    const file = migrations.find((migration) => migration.version === row.version);
    if (file === undefined) {
      throw new PurserError(
        'database_newer',
        `the database has migration ${row.name}, which this release does not have; deploy the release that added it, or a newer one`,
        { exitCode: exitCodes.configuration },
      );
    }
    if (file.checksum !== row.checksum) {
      throw new PurserError(
        'migration_changed',
        `sql/${file.name}.sql differs from the version that was applied to this database; restore the file and add a new migration instead`,
        { exitCode: exitCodes.configuration },
      );
    }
  }
}

function failed(name: string, error: unknown): PurserError {
  if (error instanceof PurserError) return error;
  return new PurserError('migration_failed', `sql/${name}.sql failed: ${messageOf(error)}`, {
    cause: error,
  });
}

/** Applies missing migrations, then sets roles, policies, triggers and grants on every table. */
export async function migrateUp(url: string, options: MigrateOptions = {}): Promise<MigrateResult> {
  const migrations = await loadMigrations(options.folder);
  return withMigrationLock(url, { ...options, creates: true }, async (sql, retry) => {
    const ledger = await readLedger(sql);
    assertLedgerFits(migrations, ledger);
    const usesRoles = await retry('the roles', () => ensureRoles(sql));
    const applied: string[] = [];
    const known = new Set(ledger.map((row) => row.version));
    for (const migration of migrations.filter(({ version }) => !known.has(version))) {
      const { version, name, checksum } = migration;
      const record = (on: Queryable) =>
        on`insert into purser.migrations (version, name, checksum) values (${version}, ${name}, ${checksum})`;
      try {
        await retry(`sql/${name}.sql`, async () => {
          if (noTransaction.test(migration.up)) {
            // A single statement that cannot run in a transaction; it must be repeatable.
            await sql.unsafe(migration.up);
            await record(sql);
            return;
          }
          await sql.begin(async (tx) => {
            await tx.unsafe(migration.up);
            // Postgres grants execute on new functions to everyone. apply_tenancy revokes it too, but would not run if
            // a later migration failed.
            await tx`revoke execute on all routines in schema purser from public`;
            await record(tx);
          });
        });
      } catch (error) {
        throw failed(name, error);
      }
      applied.push(name);
      options.onApplied?.(name);
    }
    await retry('the policies', () => sql`select purser.apply_tenancy(${usesRoles})`);
    const { tenantLogin } = options;
    const admitted =
      tenantLogin === undefined ||
      (usesRoles && (await retry('the grant', () => admitTenantLogin(sql, tenantLogin))));
    const serverVersion = await majorVersion(sql);
    return { applied, usesRoles, serverVersion, tenantLoginRefused: !admitted };
  });
}

/** Reverts the newest `steps` migrations. Their data is lost. */
export async function migrateDown(
  url: string,
  steps: number,
  options: MigrateOptions = {},
): Promise<string[]> {
  const migrations = await loadMigrations(options.folder);
  return withMigrationLock(url, { ...options, creates: false }, async (sql, retry) => {
    const ledger = await readLedger(sql);
    assertLedgerFits(migrations, ledger);
    const undone: string[] = [];
    for (const row of ledger.toReversed().slice(0, steps)) {
      const migration = migrations.find((candidate) => candidate.version === row.version);
      if (migration === undefined) break;
      try {
        await retry(`sql/${row.name}.down.sql`, () =>
          sql.begin(async (tx) => {
            await tx.unsafe(migration.down);
            await tx`delete from purser.migrations where version = ${row.version}`;
          }),
        );
      } catch (error) {
        throw failed(`${row.name}.down`, error);
      }
      undone.push(row.name);
    }
    return undone;
  });
}

/** Every known migration with the time it was applied, or null. */
export async function migrationStatus(sql: Sql): Promise<MigrationStatus[]> {
  const migrations = await loadMigrations();
  const ledger = await readLedger(sql);
  assertLedgerFits(migrations, ledger);
  return migrations.map(({ version, name }) => ({
    version,
    name,
    appliedAt: ledger.find((row) => row.version === version)?.applied_at ?? null,
  }));
}

/**
 * Throws `not_migrated` (exit 78) when this release needs a migration that was not applied, and `before_baseline` for
 * a database of an earlier version. One with newer migrations is accepted: the next release is being rolled out.
 */
export async function assertMigrated(sql: Sql): Promise<void> {
  const status = await migrationStatus(sql).catch((error: unknown) => {
    if (error instanceof PurserError && error.code === 'database_newer') return [];
    throw error;
  });
  const missing = status.filter(({ appliedAt }) => appliedAt === null).map(({ name }) => name);
  if (missing.length === 0) return;
  throw new PurserError(
    'not_migrated',
    `this release needs ${missing.join(', ')}, not yet applied to this database; run: purser migrate up`,
    { exitCode: exitCodes.configuration },
  );
}
