/** Every door of new jobs refuses what a full backlog has no room for, at every level of tenancy. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import { tenantSql } from '../../../src/db/tenant.ts';
import { enqueue as enqueueOf } from '../../../src/handlers/client.ts';
import { enqueue, enqueueChild, enqueueMany } from '../../../src/jobs/enqueue.ts';
import { endOfThrow } from '../../../src/worker/classify.ts';
import { levels, openLevel } from '../../tenancy/level-database.ts';
import type { LevelDatabase } from '../../tenancy/level-database.ts';
import { addJobType, begin, claimJob, jobRow, runningJob, step } from '../job-steps.ts';
import { jobsOf, leftovers, limitedTenant, setLimits } from './backlog-tenant.ts';

describe.each(levels)('at level %s', (level) => {
  let fixture: LevelDatabase;
  let system: Sql;

  beforeAll(async () => {
    fixture = await openLevel(level, 3);
    system = fixture.database.system;
    await addJobType(system);
  });
  afterAll(() => fixture.close());

  /** A running attempt of a tenant that has room for one job more. */
  const attemptWithRoom = async () => {
    const tenantId = await limitedTenant(system, { jobs: 1 });
    const attempt = await runningJob(system, tenantId);
    return { tenantId, attempt, sql: tenantSql(fixture.database.tenant, { token: attempt.token }) };
  };
  const child = { jobType: step };
  const full = { code: 'backlog_full', status: 429 };

  it('a handler: its child is refused with the figures, and its attempt may be snoozed', async () => {
    const { tenantId, attempt, sql } = await attemptWithRoom();
    await enqueueChild(sql, child);
    const error: unknown = await enqueueChild(sql, child).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ ...full, details: { have: 1, limit: 1, asked: 1 } });
    expect(await jobsOf(system, tenantId)).toBe(2);
    const handler = { onBudget: 'park' as const, backoff: undefined };
    const facts = { attempt, handler: handler as never, now: new Date() };
    expect(endOfThrow(error, facts)).toMatchObject({
      toState: 'pending',
      countsAttempt: false,
      afterMs: 5_000,
    });
  });

  it("a handler's transaction that is refused at its commit leaves nothing", async () => {
    const { tenantId, sql } = await attemptWithRoom();
    const open = sql.begin(async (tx) => {
      await tx`insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
        values (${tenantId}, 'mine', 'sealed', 1)`;
      await enqueueChild(tx, child);
      await enqueue(system, { tenantId, ...child });
    });
    await expect(open).rejects.toMatchObject({ ...full, details: { have: 1, asked: 1 } });
    expect(await jobsOf(system, tenantId)).toBe(2);
    expect(await leftovers(system, tenantId)).toBe(0);
    expect(await system`select from aws_accounts where tenant_id = ${tenantId}`).toHaveLength(0);
  });

  it('nor does one that would complete its job: the attempt goes on', async () => {
    const { tenantId, attempt, sql } = await attemptWithRoom();
    const open = sql.begin(
      async (tx) => {
        await enqueueChild(tx, child);
        await enqueue(system, { tenantId, ...child });
      },
      { complete: true },
    );
    await expect(open).rejects.toMatchObject(full);
    expect((await jobRow(system, attempt.jobId)).state).toBe('running');
  });

  it('a tenant that has the check made early holds up nobody but itself', async () => {
    const { tenantId, sql } = await attemptWithRoom();
    await setLimits(system, tenantId, { jobs: 2 });
    await sql.begin(async (tx) => {
      await tx.unsafe('set constraints all immediate');
      await enqueueChild(tx, child);
      const other = await limitedTenant(system, { jobs: 1 });
      await enqueue(system, { tenantId: other, ...child });
    });
    expect(await jobsOf(system, tenantId)).toBe(2);
  });

  it('the typed client and enqueueMany, which names the request', async () => {
    const tenantId = await limitedTenant(system, { jobs: 2 });
    await enqueueOf(system, step, { tenantId });
    const requests = [
      { tenantId, jobType: step },
      { tenantId, jobType: step, dedupKey: 'a' },
    ];
    await expect(enqueueMany(system, requests)).rejects.toMatchObject({
      ...full,
      message: expect.stringMatching(
        /^request 2: tenant .* has 1 jobs.*; 2 more would exceed its limit of 2/,
      ),
      details: { request: 2 },
    });
    expect(await jobsOf(system, tenantId)).toBe(1);
    await enqueueOf(system, step, { tenantId });
    await expect(enqueueOf(system, step, { tenantId })).rejects.toMatchObject(full);
  });

  it('SQL, for any client that may: SQLSTATE PU012 with the figures as JSON', async () => {
    const tenantId = await limitedTenant(system, { bytes: 3 });
    await system`select purser.enqueue(${tenantId}, ${step})`;
    const error: unknown = await system`select purser.enqueue(${tenantId}, ${step})`.catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({
      code: 'PU012',
      hint: expect.stringContaining('--max-backlog-bytes'),
    });
    expect(JSON.parse(String(Reflect.get(error as object, 'detail')))).toEqual({
      tenantId,
      unit: 'bytes',
      limit: 3,
      have: 2,
      asked: 2,
      retryAfterMs: 5_000,
    });
  });

  it('a job that began makes room', async () => {
    const tenantId = await limitedTenant(system, { jobs: 1 });
    const { jobId } = await enqueue(system, { tenantId, ...child });
    const queued = await claimJob(system, jobId);
    await expect(enqueue(system, { tenantId, ...child })).rejects.toMatchObject(full);
    await begin(system, queued);
    await enqueue(system, { tenantId, ...child });
  });
});
