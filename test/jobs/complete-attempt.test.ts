/** `ctx.sql.begin(fn, { complete: true })`: effects, child jobs and the end of the job are one commit. */
import { EventEmitter, once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql, Tx } from '../../src/db/connect.ts';
import { openOperatorToken, tenantSql } from '../../src/db/tenant.ts';
import { enqueueChild } from '../../src/jobs/enqueue.ts';
import { rescueLostAttempts } from '../../src/jobs/sweep.ts';
import { storableResult } from '../../src/worker/store-value.ts';
import { miscounted, misplaced } from '../faults/auditor.ts';
import { addTenant } from '../support/tenants.ts';
import { levels, openLevel } from '../tenancy/level-database.ts';
import type { LevelDatabase } from '../tenancy/level-database.ts';
import { addJobType, finish, historyOf, jobRow, runningJob, step } from './job-steps.ts';

describe.each(levels)('at level %s', (level) => {
  let fixture: LevelDatabase;
  let system: Sql;
  let tenantId: string;

  beforeAll(async () => {
    fixture = await openLevel(level, 3);
    system = fixture.database.system;
    await addJobType(system);
  });
  beforeEach(async () => {
    tenantId = await addTenant(system);
  });
  afterAll(() => fixture.close());

  const attemptOf = async (leaseMs = 30_000) => {
    const { jobId, token } = await runningJob(system, tenantId, {}, leaseMs);
    const context = { token, storable: storableResult };
    return { jobId, token, sql: tenantSql(fixture.database.tenant, context) };
  };
  const write = async (tx: Tx, accountId = 'mine') => {
    await tx`
      insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
      values (${tenantId}, ${accountId}, 'sealed', 1)`;
  };
  const accounts = async () =>
    (
      await system<{ account_id: string }[]>`
        select account_id from aws_accounts where tenant_id = ${tenantId} order by 1`
    ).map(({ account_id }) => account_id);

  it('effects, child job and completion are committed together; a later finish is answered repeated', async () => {
    const { jobId, token, sql } = await attemptOf();
    await system`update purser.in_flight set suspect = true, losses = 2, losses_alone = 1 where job_id = ${jobId}`;
    const answer = await sql.begin(
      async (tx) => {
        await write(tx);
        const child = await enqueueChild(tx, { jobType: step, payload: { child: true } });
        return { childId: child.jobId, note: 'a\u0000b' };
      },
      { complete: true },
    );
    expect(answer.note).toBe('a\u0000b');
    expect(await jobRow(system, jobId)).toMatchObject({
      state: 'completed',
      attempt: 1,
      result: { childId: answer.childId, note: 'a\uFFFDb' },
      state_detail: { by: 'handler transaction' },
      finished_at: expect.any(Date),
      suspect: false,
      losses: 0,
      losses_alone: 0,
    });
    expect((await historyOf(system, jobId)).at(-1)).toBe('running>completed');
    expect((await jobRow(system, answer.childId)).state_detail).toEqual({ parent: Number(jobId) });
    expect(await accounts()).toEqual(['mine']);
    expect(await system`select from purser.in_flight where job_id = ${jobId}`).toHaveLength(0);
    expect([...(await miscounted(system)), ...(await misplaced(system))]).toEqual([]);
    expect(await finish(system, { jobId, token }, { result: 'later' })).toBe('repeated');
    expect((await jobRow(system, jobId)).result).toMatchObject({ childId: answer.childId });
  });

  it('an error rolls everything back, and the job keeps running', async () => {
    const { jobId, token, sql } = await attemptOf();
    const failing = sql.begin(
      async (tx) => {
        await write(tx);
        await enqueueChild(tx, { jobType: step });
        throw new Error('on second thought');
      },
      { complete: true },
    );
    await expect(failing).rejects.toThrow('on second thought');
    expect(await jobRow(system, jobId)).toMatchObject({ state: 'running', result: null });
    expect(await accounts()).toEqual([]);
    const children =
      await system`select from background_jobs where state_detail->>'parent' = ${jobId}`;
    expect(children).toHaveLength(0);
    await sql.begin((tx) => write(tx, 'afterwards'));
    expect(await finish(system, { jobId, token })).toBe('applied');
  });

  it('a second completion and any later work is refused', async () => {
    const { jobId, sql } = await attemptOf();
    await sql.begin(async () => 'first', { complete: true });
    const second = sql.begin(async () => 'second', { complete: true });
    await expect(second).rejects.toMatchObject({ code: 'PU002' });
    await expect(sql.begin((tx) => write(tx))).rejects.toMatchObject({ code: 'PU001' });
    expect((await jobRow(system, jobId)).result).toBe('first');
    expect(await accounts()).toEqual([]);
  });

  it('an attempt that was taken over completes nothing', async () => {
    const { jobId, sql } = await attemptOf(-1);
    const late = sql.begin(
      async (tx) => {
        await write(tx, 'late');
        await rescueLostAttempts(system);
      },
      { complete: true },
    );
    await expect(late).rejects.toMatchObject({ code: 'PU002' });
    expect(await jobRow(system, jobId)).toMatchObject({ state: 'pending', result: null });
    expect(await accounts()).toEqual([]);
  });

  it('another open transaction of the attempt cannot commit after it', async () => {
    const { sql } = await attemptOf();
    const steps = new EventEmitter();
    const written = once(steps, 'written');
    const open = sql.begin(async (tx) => {
      await write(tx, 'open');
      const completed = once(steps, 'completed');
      steps.emit('written');
      await completed;
    });
    await written;
    await sql.begin(async () => null, { complete: true });
    steps.emit('completed');
    await expect(open).rejects.toMatchObject({ code: 'PU002' });
    expect(await accounts()).toEqual([]);
  });

  it('an operator token completes nothing', async () => {
    const token = await openOperatorToken(system, tenantId, 60_000);
    const door = tenantSql(fixture.database.tenant, { token });
    await expect(door.begin(async () => 1, { complete: true })).rejects.toMatchObject({
      code: 'PU002',
    });
    await door.begin((tx) => write(tx, 'by an operator'));
    expect(await accounts()).toEqual(['by an operator']);
  });

  it('called in SQL by the handler, it commits nothing: the commit fence finds no token', async () => {
    const { jobId, sql } = await attemptOf();
    await expect(sql`select purser.complete_attempt('{}')`).rejects.toMatchObject({
      code: 'PU002',
    });
    expect((await jobRow(system, jobId)).state).toBe('running');
  });
});
