/**
 * The checks of `doctor`. Each says what it saw; a check that cannot run is a failed check, never silence.
 */
import type { Config } from '../../config.ts';
import type { Queryable } from '../../db/connect.ts';
import { openDatabase } from '../../db/database.ts';
import type { Database } from '../../db/database.ts';
import { listHeartbeats } from '../../db/heartbeats.ts';
import { migrationStatus } from '../../db/migrate.ts';
import { findUnprotectedTables } from '../../db/tenancy-walk.ts';
import { messageOf } from '../../errors.ts';
import { createLogger, redactUrls } from '../../log.ts';
import { openQueueBackend } from '../../queues/backend.ts';
import { checkLlm } from './llm.ts';
import { checkPauses } from './pauses.ts';
import { openKeyring } from '../../crypto/open-keyring.ts';

export interface Finding {
  readonly check: string;
  readonly level: 'ok' | 'warn' | 'fail';
  readonly seen: string;
  readonly fix?: string;
}

type Check = () => Promise<Omit<Finding, 'check'>>;

const minimumPostgres = 15;
const aliveMs = 15_000;
const clockToleranceMs = 2_000;

async function look(check: string, run: Check): Promise<Finding> {
  try {
    return { check, ...(await run()) };
  } catch (error) {
    const seen = `the check itself failed: ${redactUrls(messageOf(error))}`;
    return { check, level: 'fail', seen, fix: 'see the message; the service may be away' };
  }
}

const ok = (seen: string) => ({ level: 'ok' as const, seen });
const warn = (seen: string, fix: string) => ({ level: 'warn' as const, seen, fix });
const fail = (seen: string, fix: string) => ({ level: 'fail' as const, seen, fix });

/** Runs every check that can run; never throws. */
export async function examine(config: Config): Promise<Finding[]> {
  const findings = [
    await look('node', () => Promise.resolve(ok(process.version))),
    await look('keys', () => checkKeys(config)),
    await look('dashboard', () => Promise.resolve(checkDashboard(config))),
  ];
  if (config.DATABASE_URL === undefined) {
    const seen = 'DATABASE_URL is not set';
    return [
      ...findings,
      { check: 'database', ...fail(seen, 'set it; only demo and `start all` bring one') },
    ];
  }
  let database: Database;
  try {
    database = await openDatabase({
      url: config.DATABASE_URL,
      tenantUrl: config.TENANT_DATABASE_URL,
      pooled: config.DATABASE_DIRECT_URL !== undefined,
      tlsVerify: config.DATABASE_TLS_VERIFY,
      applicationName: 'purser doctor',
      systemConnections: 2,
      tenantConnections: 1,
    });
  } catch (error) {
    const fix = 'check DATABASE_URL, then run: purser migrate up';
    return [...findings, { check: 'database', ...fail(redactUrls(messageOf(error)), fix) }];
  }
  const sql = database.system;
  try {
    return [
      ...findings,
      await look('postgres', () => checkPostgres(database)),
      await look('migrations', () => checkMigrations(database)),
      await look('tenancy level', () => checkLevel(database)),
      await look('row-level security', () => checkProtection(sql)),
      await look('connections', () => checkConnections(sql)),
      await look('pooler', () => checkPooler(config, database)),
      await look('clock', () => checkClock(sql)),
      await look('queues', () => checkQueues(config, database)),
      await look('schedulers', () => checkRole(sql, 'scheduler')),
      await look('workers', () => checkRole(sql, 'worker')),
      await look('schedules', () => checkSchedules(sql)),
      await look('pauses', () => checkPauses(sql)),
      await look('llm', () => checkLlm(config, sql)),
    ];
  } finally {
    await database.close();
  }
}

async function checkKeys(config: Config) {
  const { ENCRYPTION_KEY: key, KDF_SALT: salt } = config;
  if (key === undefined || salt === undefined) {
    return warn(
      'ENCRYPTION_KEY or KDF_SALT is not set: credentials cannot be stored',
      'purser keys generate-key and purser keys generate-salt; keep both in your secret store',
    );
  }
  const manager = await openKeyring(config);
  const context = { tenantId: 'doctor', column: 'doctor.check', purpose: 'generic' } as const;
  const { ciphertext } = await manager.encryptString('round trip', context);
  if ((await manager.decryptString(ciphertext, context)) !== 'round trip') {
    return fail(
      'a round trip of encryption gave another text',
      'check ENCRYPTION_KEY and KDF_SALT',
    );
  }
  return ok(`version ${config.ENCRYPTION_KEY_VERSION} encrypts and decrypts`);
}

function checkDashboard(config: Config) {
  return config.DASHBOARD_PASSWORD === undefined
    ? warn(
        'no DASHBOARD_PASSWORD: web makes one at each start',
        'set DASHBOARD_USER and DASHBOARD_PASSWORD',
      )
    : ok('a login is configured');
}

function checkPostgres(database: Database) {
  const seen = `Postgres ${database.serverVersion}`;
  return Promise.resolve(
    database.serverVersion >= minimumPostgres
      ? ok(seen)
      : fail(seen, `use Postgres ${minimumPostgres} or newer`),
  );
}

async function checkMigrations(database: Database) {
  const missing = (await migrationStatus(database.system)).filter((row) => row.appliedAt === null);
  return missing.length === 0
    ? ok('all applied')
    : fail(`not applied: ${missing.map(({ name }) => name).join(', ')}`, 'run: purser migrate up');
}

async function checkLevel(database: Database) {
  const [login] = await database.system<{ superuser: boolean }[]>`
    select rolsuper as superuser from pg_roles where rolname = current_user`;
  if (login?.superuser === true) {
    return warn(
      `${database.level}, but the login is a superuser, whom no policy binds`,
      'use a login without SUPERUSER that owns the database and has CREATEROLE',
    );
  }
  if (database.level === 'L3') return ok('L3: handlers log in as the tenant role');
  if (database.level === 'L2') {
    return warn(
      'L2: one login, SET LOCAL ROLE. Stops wrong code; hostile SQL in a handler could RESET ROLE',
      'set TENANT_DATABASE_URL to a login of its own and migrate again (level L3)',
    );
  }
  return warn(
    'L1: one plain login. Stops mistakes, not malice',
    'give the login CREATEROLE, or have purser_system and purser_tenant granted to it, and migrate again',
  );
}

async function checkProtection(sql: Queryable) {
  const unprotected = await findUnprotectedTables(sql);
  return unprotected.length === 0
    ? ok('every table with a tenant has forced policies')
    : fail(`unprotected: ${unprotected.join(', ')}`, 'run: purser migrate up');
}

async function checkConnections(sql: Queryable) {
  const [row] = await sql<{ used: number; allowed: number }[]>`
    select (select count(*)::int from pg_stat_activity where backend_type = 'client backend') as used,
           current_setting('max_connections')::int
             - current_setting('superuser_reserved_connections')::int as allowed`;
  const { used = 0, allowed = 0 } = row ?? {};
  const seen = `${used} of ${allowed} in use`;
  return used > allowed * 0.9
    ? warn(seen, 'fewer processes, a larger plan, or a pooler')
    : ok(seen);
}

/** Redis carries the queues without LISTEN, but migrations need a connection of their own in any case. */
function checkPooler(config: Config, { pooler }: Database) {
  if (pooler !== 'transaction') {
    return Promise.resolve(ok(pooler === 'none' ? 'none' : 'one, in session mode'));
  }
  return Promise.resolve(
    config.DATABASE_DIRECT_URL === undefined
      ? fail(
          'DATABASE_URL goes through a pooler in transaction mode; migrations and queues in Postgres cannot',
          'set DATABASE_DIRECT_URL to the database itself',
        )
      : ok('one, in transaction mode; migrations and queues in Postgres go to DATABASE_DIRECT_URL'),
  );
}

async function checkClock(sql: Queryable) {
  const before = Date.now();
  const [row] = await sql<{ at: Date }[]>`select clock_timestamp() as at`;
  const offMs = Math.abs((row?.at.getTime() ?? 0) - (before + Date.now()) / 2);
  const seen = `${Math.round(offMs)} ms from the database's`;
  return offMs > clockToleranceMs ? warn(seen, 'synchronise the clocks (NTP)') : ok(seen);
}

async function checkQueues(config: Config, database: Database) {
  const backend = openQueueBackend({
    redisUrl: config.REDIS_URL,
    redisTlsVerify: config.REDIS_TLS_VERIFY,
    databaseUrl: config.DATABASE_DIRECT_URL ?? config.DATABASE_URL ?? '',
    databaseTlsVerify: config.DATABASE_TLS_VERIFY,
    workers: 0,
    fleetId: database.fleetId,
    applicationName: 'purser doctor',
    log: createLogger({ level: 'silent', role: 'doctor' }),
  });
  try {
    const policy = await backend.evictionPolicy();
    if (policy !== undefined && policy !== 'noeviction') {
      return fail(
        `Redis evicts (${policy})`,
        'set maxmemory-policy noeviction: evicted entries are lost work',
      );
    }
    return ok(`${backend.kind} answers`);
  } finally {
    await backend.close();
  }
}

async function checkRole(sql: Queryable, role: 'scheduler' | 'worker') {
  const alive = (await listHeartbeats(sql, aliveMs)).filter((beat) => beat.role === role);
  return alive.length === 0
    ? warn('none is alive', `start one: purser start ${role}`)
    : ok(`${alive.length} alive`);
}

async function checkSchedules(sql: Queryable) {
  const [row] = await sql<{ late: number; oldest: Date | null }[]>`
    select count(*)::int as late, min(next_due) as oldest from public.tenant_schedules
    where enabled and next_due < now() - interval '5 minutes'`;
  return row === undefined || row.late === 0
    ? ok('none is late')
    : warn(
        `${row.late} are late, the oldest since ${row.oldest?.toISOString()}`,
        'is a scheduler running?',
      );
}
