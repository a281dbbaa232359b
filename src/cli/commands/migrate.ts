/** `purser migrate up|down|status`: the release phase of a deployment. */
import { openWithSettings, singleConnection } from '../../db/pooler.ts';
import { migrateDown, migrationStatus } from '../../db/migrate.ts';
import type { LockHolder } from '../../db/locks/holders.ts';
import { exitCodes, UsageError } from '../../errors.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { wholeNumber } from '../terminal/parse.ts';
import { prepareDatabase, prepareOptionsOf } from '../runtime/prepare-database.ts';
import { assertDirectUrl, databaseUrl, directVariable } from '../runtime/database-options.ts';
import { using } from '../runtime/unreachable.ts';
import { formatTable } from '../terminal/table.ts';

const pidsOf = (holders: readonly LockHolder[]): string =>
  holders.length === 0 ? 'another session' : `pid ${holders.map(({ pid }) => pid).join(', ')}`;

/** `--wait`: for how long a migration is tried again that meets the locks of open transactions. */
function lockOptions(invocation: Invocation) {
  return {
    lockWaitMs: wholeNumber(invocation, 'wait', 120, { min: 0, max: 86_400 }) * 1_000,
    onWait: (what: string, holders: readonly LockHolder[]) =>
      invocation.note(`${what} waits for a lock of ${pidsOf(holders)}; trying again`),
  };
}

const waitOption = {
  value: 'SECONDS',
  help: 'how long to try again while open transactions hold locks (default 120)',
};

async function up(invocation: Invocation): Promise<number> {
  const config = invocation.config();
  await assertDirectUrl(config, 'purser migrate');
  const options = {
    ...prepareOptionsOf(config, databaseUrl(config)),
    onApplied: (name: string) => invocation.print(`applied ${name}`),
    ...lockOptions(invocation),
  };
  const result = await using(config, directVariable(config), () => prepareDatabase(options));
  if (!result.usesRoles) {
    invocation.note(
      'warning: this login can neither create nor use the roles purser_system and purser_tenant: tenancy is at level L1\n' +
        '  (prevents mistakes, not attacks). Give the login CREATEROLE, or grant it the two roles, and migrate again.',
    );
  }
  if (result.tenantLoginRefused) {
    invocation.note(
      'warning: purser_tenant could not be granted to the login of TENANT_DATABASE_URL; an administrator has to run:\n' +
        '  grant purser_tenant to <tenant login>; grant <tenant login> to purser_system;',
    );
  }
  const applied = result.applied.length;
  invocation.print(
    applied === 0
      ? `the database is up to date (tenancy by ${result.usesRoles ? 'roles' : 'one login, L1'})`
      : `${applied} ${applied === 1 ? 'migration' : 'migrations'} applied`,
  );
  return exitCodes.ok;
}

async function down(invocation: Invocation): Promise<number> {
  const config = invocation.config();
  const steps = wholeNumber(invocation, 'steps', 1, { min: 1, max: 1000 });
  if (!invocation.flag('yes')) {
    throw new UsageError(
      `migrate down drops the tables of the newest ${steps} migration(s) with their data; add --yes to confirm`,
    );
  }
  await assertDirectUrl(config, 'purser migrate');
  const { url, tlsVerify } = prepareOptionsOf(config, databaseUrl(config));
  const options = { tlsVerify, ...lockOptions(invocation) };
  const undone = await using(config, directVariable(config), () =>
    migrateDown(url, steps, options),
  );
  for (const name of undone) invocation.print(`reverted ${name}`);
  if (undone.length === 0) invocation.print('nothing to revert');
  return exitCodes.ok;
}

async function status(invocation: Invocation): Promise<number> {
  const config = invocation.config();
  await assertDirectUrl(config, 'purser migrate');
  const { url, tlsVerify } = prepareOptionsOf(config, databaseUrl(config));
  const single = singleConnection(url, { applicationName: 'purser migrate', tlsVerify });
  const sql = await using(config, directVariable(config), () => openWithSettings(single));
  try {
    const migrations = await migrationStatus(sql);
    if (invocation.flag('json')) invocation.print(JSON.stringify(migrations));
    else {
      invocation.print(
        formatTable(
          ['migration', 'applied at'],
          migrations.map((migration) => [migration.name, migration.appliedAt ?? 'not applied']),
        ),
      );
    }
    return exitCodes.ok;
  } finally {
    await sql.end({ timeout: 5 });
  }
}

export const migrateCommands: readonly Command[] = [
  {
    path: 'migrate up',
    summary: 'migrate the database to this release: tables, roles, policies, job types, schedules',
    options: { wait: waitOption },
    run: up,
  },
  {
    path: 'migrate down',
    summary: 'revert the newest migrations and drop their data',
    options: {
      steps: { value: 'N', help: 'number of migrations (default 1)' },
      wait: waitOption,
      yes: { help: 'confirm that the data is dropped' },
    },
    run: down,
  },
  {
    path: 'migrate status',
    summary: 'list migrations and when they were applied',
    options: { json: jsonOption },
    run: status,
  },
];
