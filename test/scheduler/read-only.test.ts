/** Sessions on a server that became read-only: the loops of a scheduler and a worker open new ones, and jobs go on. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import type { Sql } from '../../src/db/connect.ts';
import { defineHandler } from '../../src/handlers/define.ts';
import { createMetrics } from '../../src/metrics.ts';
import { startScheduler } from '../../src/scheduler/scheduler.ts';
import { addJob, step, untilState } from '../jobs/job-steps.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { addTenant } from '../support/tenants.ts';
import { openFleet } from '../worker/fleet.ts';
import type { Fleet } from '../worker/fleet.ts';

let fleet: Fleet;
beforeAll(async () => {
  fleet = await openFleet(undefined, false);
});
afterAll(() => fleet.close());

const handler = defineHandler({
  type: step,
  timeoutMs: 10_000,
  maxAttempts: 3,
  payload: z.object({}),
  run: async () => {},
});

/** Makes every session that the pool has, and none that it opens later, read-only. */
async function pinToReadOnly(sql: Sql): Promise<void> {
  await Promise.all(
    Array.from({ length: sql.options.max }, async () => {
      await sql`select pg_sleep(0.2)`;
    }),
  );
  await Promise.all(
    Array.from({ length: sql.options.max }, () =>
      sql.unsafe('set session characteristics as transaction read only; select pg_sleep(0.2)'),
    ),
  );
}

it('jobs that are enqueued after a failover run', async () => {
  const { sql } = fleet.test;
  await fleet.startWorker([handler], { leaseMs: 2_000 });
  const own = await fleet.test.open({ systemConnections: 2 });
  const scheduler = startScheduler({
    sql: own.system,
    backend: fleet.backend,
    transport: fleet.transport,
    log: silentLog,
    metrics: createMetrics(),
    leaseMs: 2_000,
    reconcileAfterMs: 10_000,
    more: [],
    process: { processId: 'scheduler-x', version: '0', hostname: 'x', pid: 1 },
  });
  try {
    const tenantId = await addTenant(sql);
    await untilState(sql, await addJob(sql, tenantId), 'completed');
    await Promise.all(
      [own.system, fleet.database.system, fleet.database.leases].map(pinToReadOnly),
    );
    await sleep(50);
    await untilState(sql, await addJob(sql, tenantId), 'completed');
    const [left] = await own.system<{ mode: string }[]>`
      select current_setting('transaction_read_only') as mode`;
    expect(left).toEqual({ mode: 'off' });
  } finally {
    await scheduler.stop();
  }
}, 60_000);
