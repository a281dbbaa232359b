/** Leases are renewed whatever a handler's transaction has locked. */
import { AbortSource } from '../../src/worker/executors/abort-source.ts';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { Database } from '../../src/db/database.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import type { BegunAttempt } from '../../src/jobs/attempts.ts';
import { abortUnrenewed, keepLeases, storeHandlerOutput } from '../../src/worker/leases.ts';
import { createLogger } from '../../src/log.ts';
import { RunningJobs } from '../../src/worker/running-jobs.ts';
import { addJobType, jobRow, runningJob } from '../jobs/job-steps.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { addTenant } from '../support/tenants.ts';

let test: TestDatabase;
let database: Database;
let tenantId: string;
let running: RunningJobs;

beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open();
  await addJobType(test.sql);
});
beforeEach(async () => {
  tenantId = await addTenant(test.sql);
  running = new RunningJobs();
});
afterAll(() => test.close());

const leaseMs = 30_000;
const round = async (on = database) => {
  const lease = { database: on, running, workerId: 'worker-1', leaseMs, log: silentLog };
  await keepLeases(lease);
  await storeHandlerOutput(lease);
};

function runs(attempt: BegunAttempt) {
  const job = { attempt, abort: new AbortSource(), leasedUntilMs: 0 };
  running.add(job);
  return job;
}

it('an uncommitted completion blocks no renewal, and its own lease does not count as lost', async () => {
  const completing = runs(await runningJob(test.sql, tenantId));
  const neighbour = runs(await runningJob(test.sql, tenantId));
  const { token } = completing.attempt;
  running.report(token, {
    progress: { done: 1, note: null },
    lines: [],
    refusals: 0,
    decryptionFailures: 0,
  });
  await tenantSql(database.tenant, { token })
    .begin(async (tx) => {
      await tx`select purser.complete_attempt('"done"')`;
      await round();
      throw new Error('not after all');
    })
    .catch(() => {});
  expect(neighbour.leasedUntilMs).toBeGreaterThan(0);
  expect(completing.leasedUntilMs).toBe(0);
  expect(completing.abort.aborted).toBe(false);
  await round();
  expect(completing.leasedUntilMs).toBeGreaterThan(0);
});

it('a lease that went with its completion tells the handler to stop', async () => {
  const completing = runs(await runningJob(test.sql, tenantId));
  const { jobId, token } = completing.attempt;
  await tenantSql(database.tenant, { token }).begin(async () => 'done', { complete: true });
  await round();
  expect(completing.abort.reason).toMatchObject({ code: 'lease_lost' });
  expect(await jobRow(test.sql, jobId)).toMatchObject({ state: 'completed', result: 'done' });
});

it('a lease is renewed also while every other connection of the fleet waits for a lock', async () => {
  const job = runs(await runningJob(test.sql, tenantId));
  const busy = await test.open({ systemConnections: 1 });
  await test.sql.begin(async (tx) => {
    await tx`select pg_advisory_xact_lock(1)`;
    const waiting = busy.system`select pg_advisory_lock(1)`.execute();
    await keepLeases({ database: busy, running, workerId: 'worker-1', leaseMs, log: silentLog });
    expect(job.leasedUntilMs).toBeGreaterThan(0);
    void waiting.catch(() => {});
  });
});

it('only attempts whose lease is about to expire are aborted, once, and uncounted', async () => {
  const nowMs = performance.now();
  const leasedFor = async (ms: number) =>
    Object.assign(runs(await runningJob(test.sql, tenantId)), { leasedUntilMs: nowMs + ms });
  const expired = await leasedFor(-1_000);
  const expiring = await leasedFor(leaseMs / 5 - 1_000);
  const inTime = await leasedFor(leaseMs / 5 + 5_000);
  const fresh = await leasedFor(leaseMs);
  const cancelled = await leasedFor(-1_000);
  cancelled.abort.abort('cancelled before');
  const events: string[] = [];
  const log = createLogger({
    level: 'info',
    role: 'test',
    destination: { write: (line) => void events.push(line) },
  });
  for (let check = 0; check < 2; check += 1) {
    abortUnrenewed({ database, running, workerId: 'worker-1', leaseMs, log });
  }
  const lost = { code: 'lease_lost', details: { class: 'hand_back' } };
  expect(expired.abort.reason).toMatchObject(lost);
  expect(expiring.abort.reason).toMatchObject(lost);
  expect([inTime, fresh].map(({ abort }) => abort.aborted)).toEqual([false, false]);
  expect(cancelled.abort.reason).toBe('cancelled before');
  expect(events).toHaveLength(2);
});
