/** Checks of the database: version, migrations, tenancy, connections, pooler and clock. */
import type { Config } from '../../../config.ts';
import type { Queryable, Sql } from '../../../db/connect.ts';
import type { Database } from '../../../db/database.ts';
import { listProcessClocks, liveWithinMs } from '../../../db/heartbeats.ts';
import type { ProcessClock } from '../../../db/heartbeats.ts';
import { migrationStatus } from '../../../db/migrate.ts';
import { listChangedSettings } from '../../../db/check-settings.ts';
import { keptSettings } from '../../../session-settings.ts';
import { findUnprotectedTables } from '../../../db/tenancy-walk.ts';
import { probeDatabaseWrite } from '../../../db/write-probe.ts';
import { codeOf, messageOf, PurserError } from '../../../errors.ts';
import { assertDirectUrl } from '../../runtime/database-options.ts';
import { postgresAddress } from '../../../tls.ts';
import { fail, ok, warn } from './finding.ts';
import type { CheckResult } from './finding.ts';

const minimumPostgres = 15;
const clockToleranceMs = 2_000;
export function checkPostgres({ serverVersion }: Database): CheckResult {
  const seen = `Postgres ${serverVersion}`;
  return serverVersion >= minimumPostgres
    ? ok(seen)
    : fail(seen, `use Postgres ${minimumPostgres} or newer`);
}

export async function checkMigrations({ system: sql }: Database): Promise<CheckResult> {
  const missing = (await migrationStatus(sql)).filter((row) => row.appliedAt === null);
  return missing.length === 0
    ? ok('all applied')
    : fail(`not applied: ${missing.map(({ name }) => name).join(', ')}`, 'run: purser migrate up');
}

/** A database that answers reads may refuse writes, for instance after a failover or with a full disk. */
export async function checkWrites(sql: Sql): Promise<CheckResult> {
  try {
    await probeDatabaseWrite(sql);
    return ok('accepted');
  } catch (error) {
    if (!(error instanceof PurserError)) throw error;
    return fail(
      error.message,
      'connect DATABASE_URL to the primary, free disk space, or ask the provider; until then no job runs',
    );
  }
}

export async function checkLevel({ system: sql, level }: Database): Promise<CheckResult> {
  const [login] = await sql<{ superuser: boolean }[]>`
    select rolsuper as superuser from pg_roles where rolname = current_user`;
  if (login?.superuser === true) {
    return warn(
      `${level}, but the login is a superuser, and superusers bypass every policy`,
      'use a login without SUPERUSER that owns the database and has CREATEROLE',
    );
  }
  if (level === 'L3') return ok('L3: handlers log in as the tenant role');
  if (level === 'L2') {
    return warn(
      'L2: one login, SET LOCAL ROLE. Prevents mistakes; hostile SQL in a handler can RESET ROLE',
      'set TENANT_DATABASE_URL to a separate login and migrate again (level L3)',
    );
  }
  return warn(
    'L1: one plain login. Prevents mistakes, not attacks',
    'give the login CREATEROLE, or have purser_system and purser_tenant granted to it, and migrate again',
  );
}

export async function checkProtection(sql: Queryable): Promise<CheckResult> {
  const unprotected = await findUnprotectedTables(sql);
  return unprotected.length === 0
    ? ok('every table with a tenant has forced policies')
    : fail(`unprotected: ${unprotected.join(', ')}`, 'run: purser migrate up');
}

/** Purser's own connections override these; other programs with the login do not. */
export async function checkSettings(
  sql: Queryable,
  tenantUrl: string | undefined,
): Promise<CheckResult> {
  const tenantLogin =
    tenantUrl === undefined ? undefined : postgresAddress(tenantUrl, undefined).user;
  const found = await listChangedSettings(sql, tenantLogin);
  if (found.length === 0) return ok('no role or database setting that Purser depends on');
  const list = found.map(({ owner, setting }) => `${owner}: ${setting}`).join('; ');
  return warn(
    `set for a role or database: ${list}`,
    `Purser's connections use their own values, except for ${keptSettings.join(' and ')}; for other programs ` +
      'run: alter role ... reset, or alter database ... reset',
  );
}

export async function checkConnections(sql: Queryable): Promise<CheckResult> {
  const [row] = await sql<{ used: number; allowed: number }[]>`
    select (select count(*)::int from pg_stat_activity where backend_type = 'client backend') as used,
           current_setting('max_connections')::int
             - current_setting('superuser_reserved_connections')::int as allowed`;
  const { used = 0, allowed = 0 } = row ?? {};
  const seen = `${used} of ${allowed} in use`;
  return used > allowed * 0.9
    ? warn(seen, 'run fewer processes, take a larger plan, or use a pooler')
    : ok(seen);
}

/** Longer than any statement of the fleet, and than most jobs. */
const openTooLongMs = 5 * 60_000;

interface OpenTransaction {
  readonly name: string;
  readonly seconds: number;
  readonly end: string;
}

/**
 * Transactions that have been open for longer than `olderThanMs`: while one is, no dead row that is younger can be
 * removed, and every statement on the tables of open jobs reads past them. Sessions of other logins are seen with the
 * right to (`pg_read_all_stats`).
 */
export async function checkOpenTransactions(
  sql: Queryable,
  olderThanMs = openTooLongMs,
): Promise<CheckResult> {
  const open = await sql<OpenTransaction[]>`
    select o.name, extract(epoch from now() - o.since)::int as seconds, o.end from (
      select format('pid %s (login %s, "%s", %s)', a.pid, a.usename, a.application_name, a.state) as name,
        a.xact_start as since, format('select pg_terminate_backend(%s)', a.pid) as end
      from pg_stat_activity a
      where a.datname = current_database() and a.pid <> pg_backend_pid()
        and (a.backend_xid is not null or a.backend_xmin is not null)
      union all
      select format('the prepared transaction %L (login %s)', p.gid, p.owner), p.prepared,
        format('rollback prepared %L', p.gid)
      from pg_prepared_xacts p where p.database = current_database()
    ) o
    where o.since < now() - ${olderThanMs} * interval '1 millisecond' order by o.since limit 5`;
  if (open.length === 0) return ok(`none for longer than ${openTooLongMs / 60_000} minutes`);
  const list = open.map(({ name, seconds }) => `${name} for ${seconds} s`).join('; ');
  return warn(
    `open: ${list}; what was deleted since cannot be removed, and dispatch and workers slow down`,
    `end it where it began, or here: ${open.map(({ end }) => end).join('; ')}`,
  );
}

/** A direct address is needed with queues in Redis too: migrations cannot run through a pooler. */
export async function checkPooler(config: Config, { pooler }: Database): Promise<CheckResult> {
  try {
    await assertDirectUrl(config, 'purser doctor');
  } catch (error) {
    if (codeOf(error) !== 'direct_url_differs') throw error;
    return fail(
      'DATABASE_DIRECT_URL names a different database than DATABASE_URL',
      messageOf(error),
    );
  }
  if (pooler !== 'transaction') return ok(pooler === 'none' ? 'none' : 'session mode');
  return config.DATABASE_DIRECT_URL === undefined
    ? fail(
        'DATABASE_URL goes through a pooler in transaction mode; migrations and queues in Postgres need a direct connection',
        'set DATABASE_DIRECT_URL to the address of the database itself',
      )
    : ok('transaction mode; migrations and queues in Postgres use DATABASE_DIRECT_URL');
}

const describeClock = ({ processId, aheadMs }: ProcessClock): string =>
  `${processId} is ${Math.round(Math.abs(aheadMs))} ms ${aheadMs > 0 ? 'ahead' : 'behind'}`;

/** The clocks of this process and of every live one. */
export async function checkClock(sql: Queryable): Promise<CheckResult> {
  const before = Date.now();
  const [row] = await sql<{ at: Date }[]>`select clock_timestamp() as at`;
  const offMs = Math.abs((row?.at.getTime() ?? 0) - (before + Date.now()) / 2);
  const wrong = (await listProcessClocks(sql, liveWithinMs)).filter(
    ({ aheadMs }) => Math.abs(aheadMs) > clockToleranceMs,
  );
  const own = `differs from the database clock by ${Math.round(offMs)} ms`;
  const seen = [own, ...wrong.map(describeClock)].join('; ');
  return offMs > clockToleranceMs || wrong.length > 0
    ? warn(seen, 'synchronise the clocks (NTP); the database decides what is due')
    : ok(seen);
}
