/** Checks of the queue store, and of single queues in it. */
import type { Config } from '../../../config.ts';
import type { Database } from '../../../db/database.ts';
import { isLoginFault, loginFaultText } from '../../../connection-faults.ts';
import { isStoreUnavailable } from '../../../db/store-errors.ts';
import { messageOf, PurserError } from '../../../errors.ts';
import { listJobTypes } from '../../../jobs/registration.ts';
import { createLogger, redactUrls } from '../../../log.ts';
import { openQueueBackend } from '../../../queues/backend.ts';
import type { QueueBackend } from '../../../queues/backend.ts';
import { readQueueStops } from '../../../queues/stops.ts';
import { createTransport } from '../../../queues/transport.ts';
import { queueVariable } from '../../runtime/database-options.ts';
import { assertOwnQueues } from '../../runtime/shared-queues.ts';
import { fail, ok, warn } from './finding.ts';
import type { CheckResult } from './finding.ts';

export async function checkQueues(config: Config, database: Database): Promise<CheckResult> {
  const backend = openQueueBackend({
    redisUrl: config.REDIS_URL,
    redisTlsVerify: config.REDIS_TLS_VERIFY,
    databaseUrl: config.DATABASE_DIRECT_URL ?? config.DATABASE_URL ?? '',
    databaseTlsVerify: config.DATABASE_TLS_VERIFY,
    serverVersion: database.serverVersion,
    workers: 0,
    fleetId: database.fleetId,
    applicationName: 'purser doctor',
    log: createLogger({ level: 'silent', role: 'doctor' }),
  });
  try {
    const policy = await backend.evictionPolicy();
    if (policy !== undefined && policy !== 'noeviction') {
      return fail(
        `Redis evicts keys (maxmemory-policy ${policy})`,
        'set maxmemory-policy noeviction: Redis must not evict queue entries',
      );
    }
    await backend.probeWrite();
    await assertOwnQueues({ backend, sql: database.system });
    return await checkStops(backend, database);
  } catch (error) {
    if (!(error instanceof PurserError)) return connectionFault(error, queueVariable(config));
    if (!error.code.startsWith('queue_store_')) throw error;
    if (error.code === 'queue_store_shared') {
      return fail(error.message, 'on the copy: purser queues separate --yes; or another REDIS_URL');
    }
    return fail(
      error.message,
      'connect to the primary of the queue store, or free memory or disk space; until then no job runs',
    );
  } finally {
    await backend.close();
  }
}

function connectionFault(error: unknown, variable: string): CheckResult {
  const message = loginFaultText(error) ?? redactUrls(messageOf(error));
  if (isLoginFault(error)) {
    return fail(
      `${variable}: the server refuses this login or database (${message})`,
      `correct user, password and database of ${variable}`,
    );
  }
  if (!isStoreUnavailable(error)) throw error;
  return fail(
    `the check lost its connection, or got none (${message})`,
    `check the address in ${variable}, that the database and the queue store run and have connections to spare, and ` +
      'run doctor again',
  );
}

/** A queue that stands still fails; one with a limit warns. */
async function checkStops(backend: QueueBackend, database: Database): Promise<CheckResult> {
  const transport = createTransport(backend);
  try {
    const jobTypes = await listJobTypes(database.system);
    const stops = await readQueueStops({ backend, transport }, jobTypes);
    if (stops.length === 0) return ok(`${backend.kind} accepts writes; no queue is stopped`);
    const seen = stops.map((stop) => `queue ${stop.queue}: ${stop.seen}`).join('; ');
    const fix = [...new Set(stops.map((stop) => stop.fix))].join('; ');
    return stops.some(({ stands }) => stands) ? fail(seen, fix) : warn(seen, fix);
  } finally {
    await transport.close();
  }
}
