/** Locks that a handler holds beyond its deadline, as they were met: rounds go on, and the session is ended. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { removeStaleUploads } from '../../src/costs/uploads/uploads.ts';
import type { Sql } from '../../src/db/connect.ts';
import type { Database } from '../../src/db/database.ts';
import { openOperatorToken, tenantSql } from '../../src/db/tenant.ts';
import {
  terminateBlockingSessions,
  terminateOverdueSessions,
} from '../../src/db/session-limits.ts';
import { createMetrics } from '../../src/metrics.ts';
import { claimOnce } from '../../src/scheduler/claim-round.ts';
import { sweepOnce } from '../../src/scheduler/sweep-round.ts';
import { addJob, addJobType, eventually, jobRow, runningJob } from '../jobs/job-steps.ts';
import { untilWaiting } from '../support/holds.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { addTenant } from '../support/tenants.ts';
import { openFleet } from '../worker/fleet.ts';
import type { Fleet } from '../worker/fleet.ts';

let fleet: Fleet;
let sql: Sql;
let database: Database;
let tenantId: string;

beforeAll(async () => {
  fleet = await openFleet(undefined, false);
  ({ sql } = fleet.test);
  database = await fleet.test.open({ level: 'L3', tenantConnections: 4 });
  await addJobType(sql, 'test_step', { timeoutMs: 1_000 });
});
beforeEach(async () => {
  await sql`delete from tenants`;
  tenantId = await addTenant(sql, { plan: 'pro' });
});
afterAll(() => fleet.close());

const noTimeouts = `
  set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0;
  set client_connection_check_interval = 0; set application_name = 'renamed'`;

/** Runs `text` in the tenant's transaction and keeps that open until the session is ended or `release` is called. */
async function hold(token: string, text: string) {
  let release = (): void => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  let held = (): void => {};
  const holding = new Promise<void>((resolve) => (held = resolve));
  const ended = tenantSql(database.tenant, { token })
    .begin(async (tx) => {
      await tx.unsafe(noTimeouts);
      await tx.unsafe(text);
      held();
      await released;
      throw new Error('released');
    })
    .catch((error: { code?: string }) => error.code ?? 'rolled back');
  await Promise.race([holding, ended]);
  return { release, ended };
}

const sweep = () =>
  sweepOnce({
    sql: fleet.database.system,
    transport: fleet.transport,
    log: silentLog,
    metrics: createMetrics(),
    reconcileAfterMs: 10_000,
    more: [],
  });

it('a child job with the key of a due tick does not delay the claim of any schedule', async () => {
  const other = await addTenant(sql, { plan: 'pro' });
  const { token } = await runningJob(sql, tenantId);
  const { release, ended } = await hold(
    token,
    `select purser.enqueue_child('finops_analysis', '{}', '${tenantId}:finops_analysis:'
       || to_char(date_trunc('hour', now() at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))`,
  );
  const claimed = claimOnce({
    sql: fleet.database.system,
    log: silentLog,
    metrics: createMetrics(),
  });
  const answer = await Promise.race([claimed, sleep(5_000, 'waits')]);
  release();
  await ended;
  expect(answer).toBe(2);
  const made = await sql`
    select tenant_id from background_jobs where job_type = 'finops_analysis' order by tenant_id`;
  expect(made.map((row) => row['tenant_id'])).toEqual([tenantId, other].toSorted());
});

it('a stale upload that a tenant has locked stays, and the sweep removes those of others', async () => {
  const other = await addTenant(sql);
  for (const owner of [tenantId, other]) {
    await sql`
      insert into ingest_uploads (tenant_id, file_name, file_hash, created_at)
      values (${owner}, 'stale.csv', ${'0'.repeat(64)}, now() - interval '2 days')`;
  }
  const { token } = await runningJob(sql, tenantId);
  const { release, ended } = await hold(token, 'select from ingest_uploads for update');
  const answer = await Promise.race([removeStaleUploads(sql), sleep(5_000, 'waits')]);
  release();
  await ended;
  expect(answer).toBe(1);
  expect(await removeStaleUploads(sql)).toBe(1);
});

describe('a tenant', () => {
  const uploadOf = async (token: string, text: string) => {
    const tenant = tenantSql(database.tenant, { token });
    return tenant.unsafe(text).then(
      (rows) => rows[0],
      (error: { code: string }) => error.code,
    );
  };

  it('chooses neither the time nor the state of its uploads', async () => {
    const { token } = await runningJob(sql, tenantId);
    const insert = `insert into ingest_uploads (tenant_id, file_name, file_hash, created_at, state)
      values ('${tenantId}', 'x', repeat('0', 64), now() - interval '9 days', 'ready')
      returning state, created_at > now() - interval '1 minute' as fresh`;
    expect(await uploadOf(token, insert)).toEqual({ state: 'uploading', fresh: true });
    expect(await uploadOf(token, `update ingest_uploads set state = 'ready'`)).toBe('PU006');
    const older = `update ingest_uploads set created_at = now() - interval '9 days'
      returning created_at > now() - interval '1 minute' as fresh`;
    expect(await uploadOf(token, older)).toEqual({ fresh: true });
    await sql`update ingest_uploads set state = 'ready'`;
    expect(await uploadOf(token, `update ingest_uploads set state = 'uploading'`)).toBe('PU006');
    const ingested = `update ingest_uploads set state = 'ingested', finished_at = now() returning state`;
    expect(await uploadOf(token, ingested)).toEqual({ state: 'ingested' });
  });
});

describe('a transaction of a tenant', () => {
  it('is ended once every attempt that can own it is past its deadline, whatever it holds', async () => {
    const attempt = await runningJob(sql, tenantId);
    const { ended } = await hold(attempt.token, 'select 1');
    await sleep(20);
    expect(await terminateOverdueSessions(sql, 1)).toBe(0);
    await sql`update background_jobs set started_at = started_at - interval '1 hour'`;
    const fresh = await runningJob(sql, tenantId);
    expect(await terminateOverdueSessions(sql, 1)).toBe(1);
    expect(await ended).not.toBe('rolled back');
    expect((await jobRow(sql, fresh.jobId)).state).toBe('running');
  });

  it('is left alone while an older attempt is running that may own it', async () => {
    await runningJob(sql, tenantId);
    const { release, ended } = await hold((await runningJob(sql, tenantId)).token, 'select 1');
    await sleep(20);
    expect(await terminateOverdueSessions(sql, 1)).toBe(0);
    release();
    expect(await ended).toBe('rolled back');
  });

  it('of an operator is left alone until the token of the command has expired', async () => {
    const token = await openOperatorToken(sql, tenantId, 60_000);
    const { ended } = await hold(token, 'select 1');
    await sleep(20);
    expect(await terminateOverdueSessions(sql, 1)).toBe(0);
    await sql`update purser.operator_tokens set expires_at = now() where token = ${token}`;
    expect(await terminateOverdueSessions(sql, 1)).toBe(1);
    expect(await ended).not.toBe('rolled back');
  });

  it('is ended when the queues in Postgres wait for it, also for a lock that anybody can take', async () => {
    const { token } = await runningJob(sql, tenantId);
    const { ended } = await hold(
      token,
      `select pg_advisory_lock(hashtext('bullmq:finalization'), hashtext('test_step'))`,
    );
    const [jobId, jobType] = [await addJob(sql, tenantId), 'test_step'];
    const added = fleet.transport.add([{ jobId, jobType, entryId: randomUUID() }]);
    await untilWaiting(sql, 1);
    expect(await terminateBlockingSessions(sql, 60_000)).toBe(0);
    await eventually('the session to be ended', async () =>
      (await terminateBlockingSessions(sql, 50)) > 0 ? true : undefined,
    );
    await added;
    expect(await ended).not.toBe('rolled back');
  });

  it('that locks a whole table is ended by the next sweep', async () => {
    const { token } = await runningJob(sql, tenantId);
    const { ended } = await hold(token, 'lock table cost_records in access exclusive mode');
    await sweep();
    expect(await ended).not.toBe('rolled back');
    await sql`select from cost_records`;
  });
});
