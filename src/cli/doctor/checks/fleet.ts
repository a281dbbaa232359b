/** Checks of what runs: the queue store, the processes of each role, and the schedules. */
import type { Config } from '../../../config.ts';
import type { Queryable } from '../../../db/connect.ts';
import type { Database } from '../../../db/database.ts';
import { listHeartbeats } from '../../../db/heartbeats.ts';
import { createLogger } from '../../../log.ts';
import { openQueueBackend } from '../../../queues/backend.ts';
import { fail, ok, warn } from './finding.ts';
import type { CheckResult } from './finding.ts';

const heartbeatMaxAgeMs = 15_000;

export async function checkQueues(config: Config, database: Database): Promise<CheckResult> {
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
        `Redis evicts keys (maxmemory-policy ${policy})`,
        'set maxmemory-policy noeviction: evicted entries are lost work',
      );
    }
    return ok(`${backend.kind} answers`);
  } finally {
    await backend.close();
  }
}

export async function checkRole(
  sql: Queryable,
  role: 'scheduler' | 'worker',
): Promise<CheckResult> {
  const running = (await listHeartbeats(sql, heartbeatMaxAgeMs)).filter(
    (beat) => beat.role === role,
  );
  return running.length === 0
    ? warn('none is running', `start one: purser start ${role}`)
    : ok(`${running.length} running`);
}

export async function checkSchedules(sql: Queryable): Promise<CheckResult> {
  const [row] = await sql<{ late: number; oldest: Date | null }[]>`
    select count(*)::int as late, min(next_due) as oldest from public.tenant_schedules
    where enabled and next_due < now() - interval '5 minutes'`;
  return row === undefined || row.late === 0
    ? ok('none is late')
    : warn(
        `${row.late} late, the oldest since ${row.oldest?.toISOString()}`,
        'check that a scheduler is running',
      );
}
