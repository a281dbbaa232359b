/** The checks of `doctor`, in order. A check that cannot run is a failed check. */
import type { Config } from '../../../config.ts';
import { loginFaultText } from '../../../connection-faults.ts';
import { randomBytes } from 'node:crypto';
import { openDatabase } from '../../../db/database.ts';
import type { Database } from '../../../db/database.ts';
import { operatorLockTimeoutMs } from '../../../db/locks/holders.ts';
import { isStoreUnavailable } from '../../../db/store-errors.ts';
import { messageOf, PurserError } from '../../../errors.ts';
import { redactUrls } from '../../../log.ts';
import { asUnreachable } from '../../runtime/unreachable.ts';
import { withLockWatch } from '../../runtime/with-database.ts';
import { checkDashboard, checkKeys, checkVariables } from './configuration.ts';
import { checkAccess } from './access.ts';
import {
  checkClock,
  checkConnections,
  checkOpenTransactions,
  checkLevel,
  checkMigrations,
  checkPooler,
  checkPostgres,
  checkProtection,
  checkSettings,
  checkWrites,
} from './database.ts';
import { fail, ok } from './finding.ts';
import type { CheckResult, Finding } from './finding.ts';
import { checkFlow, checkRole, checkSchedules } from './fleet.ts';
import { checkLlm } from './llm.ts';
import { checkPauses } from './pauses.ts';
import { checkQueues } from './queues.ts';

type Check = readonly [name: string, run: () => CheckResult | Promise<CheckResult>];

/** Runs all checks; stops after the database check when the database cannot be opened. Never throws. */
export async function examine(config: Config): Promise<Finding[]> {
  const findings = await runAll([
    ['node', () => ok(process.version)],
    ['variables', () => checkVariables()],
    ['keys', () => checkKeys(config)],
    ['dashboard', () => checkDashboard(config)],
  ]);
  if (config.DATABASE_URL === undefined) {
    const unset = fail(
      'DATABASE_URL is not set',
      'set it; only `demo` and `start all` can start an embedded database',
    );
    return [...findings, { check: 'database', ...unset }];
  }
  const name = `purser doctor ${randomBytes(4).toString('hex')}`;
  let database: Database;
  try {
    database = await openDatabase({
      url: config.DATABASE_URL,
      tenantUrl: config.TENANT_DATABASE_URL,
      pooled: config.DATABASE_DIRECT_URL !== undefined,
      tlsVerify: config.DATABASE_TLS_VERIFY,
      applicationName: name,
      systemConnections: 2,
      tenantConnections: 1,
      lockTimeoutMs: operatorLockTimeoutMs,
    });
  } catch (error) {
    const fix = 'check DATABASE_URL, then run: purser migrate up';
    return [...findings, { check: 'database', ...fail(awayText(config, error), fix) }];
  }
  try {
    const watched: Run = (check) => withLockWatch(database.leases, name, check);
    return [...findings, ...(await runAll(databaseChecks(config, database), watched))];
  } finally {
    await database.close();
  }
}

function databaseChecks(config: Config, database: Database): Check[] {
  const sql = database.system;
  return [
    ['postgres', () => checkPostgres(database)],
    ['migrations', () => checkMigrations(database)],
    ['writes', () => checkWrites(sql)],
    ['tenancy level', () => checkLevel(database)],
    ['row-level security', () => checkProtection(sql)],
    ['connections', () => checkConnections(sql)],
    ['open transactions', () => checkOpenTransactions(sql)],
    ['session settings', () => checkSettings(sql, config.TENANT_DATABASE_URL)],
    ['pooler', () => checkPooler(config, database)],
    ['clock', () => checkClock(sql)],
    ['queues', () => checkQueues(config, database)],
    ['schedulers', () => checkRole(sql, 'scheduler')],
    ['workers', () => checkRole(sql, 'worker')],
    ['job flow', () => checkFlow(sql)],
    ['schedules', () => checkSchedules(sql)],
    ['pauses', () => checkPauses(sql)],
    ['access', () => checkAccess(database)],
    ['llm', () => checkLlm(config, sql)],
  ];
}

/** One line: variable, host and port where a server is away. */
function awayText(config: Config, error: unknown): string {
  const [said = ''] = messageOf(asUnreachable(config, 'DATABASE_URL', error)).split('\n');
  return isStoreUnavailable(error) || loginFaultText(error) !== undefined ? said : textOf(error);
}

const textOf = (error: unknown): string => loginFaultText(error) ?? redactUrls(messageOf(error));

function faultOf(error: unknown): CheckResult {
  const message = textOf(error);
  if (error instanceof PurserError || !isStoreUnavailable(error)) {
    return fail(`the check could not run: ${message}`, 'see the message');
  }
  return fail(
    `the check lost its connection, or got none (${message})`,
    'check that the database and the queue store run and have connections to spare, and run doctor again',
  );
}

/** Runs one check. */
type Run = (check: () => Promise<CheckResult>) => Promise<CheckResult>;

/** One after the other: the pool is small. */
async function runAll(
  checks: readonly Check[],
  watched: Run = (check) => check(),
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [check, run] of checks) {
    try {
      findings.push({ check, ...(await watched(async () => run())) });
    } catch (error) {
      findings.push({ check, ...faultOf(error) });
    }
  }
  return findings;
}
