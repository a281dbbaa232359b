import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../src/db/connect.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import { enqueueChild } from '../../src/jobs/enqueue.ts';
import { claimDueTenants } from '../../src/schedules/claim.ts';
import { reserve } from '../support/holds.ts';
import { addTenant } from '../support/tenants.ts';
import { addJobType, finish, jobRow, runningJob, step } from '../jobs/job-steps.ts';
import { levels, openLevel } from './level-database.ts';
import type { LevelDatabase } from './level-database.ts';

describe.each(levels)('at level %s', (level) => {
  let fixture: LevelDatabase;
  let tenantId: string;
  let otherId: string;

  beforeAll(async () => {
    fixture = await openLevel(level);
    const { system } = fixture.database;
    await addJobType(system);
    tenantId = await addTenant(system, { limitUsd: '1' });
    otherId = await addTenant(system);
  });
  afterAll(() => fixture.close());

  const attemptOf = async (tenant: string) => {
    const attempt = await runningJob(fixture.database.system, tenant);
    return { ...attempt, sql: tenantSql(fixture.database.tenant, { token: attempt.token }) };
  };

  it('the database reports its level', () => {
    expect(fixture.database.level).toBe(level);
  });

  it('a plain insert by an administrator creates a complete tenant', async () => {
    const id = `plain-${randomUUID()}`;
    const admin = connect(fixture.test.url, { max: 1, applicationName: 'psql' });
    try {
      await admin`insert into tenants(id, plan, last_active_at) values (${id}, 'pro', now())`;
    } finally {
      await admin.end({ timeout: 5 });
    }
    const [made] = await fixture.database.system`
      select count(*)::int as schedules from tenant_schedules where tenant_id = ${id}`;
    expect(made).toEqual({ schedules: 1 });
    const { created } = await claimDueTenants(fixture.database.system);
    expect(created).toBeGreaterThan(0);
  });

  it('an attempt works on its own rows, enqueues, and its job ends', async () => {
    const attempt = await attemptOf(tenantId);
    const other = await attemptOf(otherId);
    for (const { sql, tenantId } of [attempt, other]) {
      await sql`
        insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
        values (${tenantId}, ${`of ${tenantId}`}, 'sealed', 1)`;
    }
    expect(await attempt.sql`select account_id from aws_accounts`).toEqual([
      { account_id: `of ${tenantId}` },
    ]);
    const child = await enqueueChild(attempt.sql, { jobType: step, payload: { child: true } });
    const [made] = await fixture.database.system`
      select tenant_id, state_detail from background_jobs where id = ${child.jobId}`;
    expect(made).toEqual({ tenant_id: tenantId, state_detail: { parent: Number(attempt.jobId) } });
    await reserve(fixture.database.system, { ...attempt, tenantId }, '0.5');
    expect(await finish(fixture.database.system, attempt)).toBe('applied');
    expect((await jobRow(fixture.database.system, attempt.jobId)).state).toBe('completed');
    await finish(fixture.database.system, other);
  });

  it('an attempt cannot write for another tenant', async () => {
    const { sql, ...attempt } = await attemptOf(tenantId);
    await expect(sql`
      insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
      values (${otherId}, 'planted', 'sealed', 1)`).rejects.toMatchObject({ code: '42501' });
    await finish(fixture.database.system, attempt);
  });

  it.each([
    'select * from background_jobs',
    'select * from llm_budgets',
    'select * from llm_ledger',
    'select * from job_events',
    'select * from purser.operator_tokens',
    'select * from purser.in_flight',
    `update llm_budgets set monthly_limit_usd = 1000`,
    `delete from purser.operator_tokens`,
    `delete from purser.in_flight`,
    `select purser.enqueue('x', 'test_step')`,
  ])('an attempt reads and changes nothing by: %s', async (statement) => {
    const { sql, ...attempt } = await attemptOf(tenantId);
    const [before] = await fixture.database.system`
      select (select count(*) from purser.in_flight) as tokens,
             (select sum(monthly_limit_usd) from llm_budgets) as limits`;
    const rows = await sql.unsafe(statement).catch(() => []);
    expect(rows).toEqual([]);
    const [after] = await fixture.database.system`
      select (select count(*) from purser.in_flight) as tokens,
             (select sum(monthly_limit_usd) from llm_budgets) as limits`;
    expect(after).toEqual(before);
    expect(await finish(fixture.database.system, attempt)).toBe('applied');
  });

  it.each(['finished', 'taken over'])(
    'a transaction that an attempt left open cannot commit after the attempt was %s',
    async () => {
      const { sql, ...attempt } = await attemptOf(tenantId);
      const late = sql.begin(async (tx) => {
        await tx`
          insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
          values (${tenantId}, ${randomUUID()}, 'late', 1)`;
        await finish(fixture.database.system, attempt);
      });
      await expect(late).rejects.toMatchObject({ code: 'PU002' });
      const left = await fixture.database.system`
        select from aws_accounts where credentials = 'late'`;
      expect(left).toEqual([]);
    },
  );

  it('without a context every read and write is refused', async () => {
    const sql = tenantSql(fixture.database.tenant, { token: '' });
    await expect(sql`select * from aws_accounts`).rejects.toMatchObject({ code: 'PU001' });
    await expect(sql`delete from cost_records where false`).rejects.toMatchObject({
      code: 'PU001',
    });
    await expect(sql`insert into tenants (id) values ('made up')`).rejects.toMatchObject({
      code: expect.stringMatching(/PU00[12]|42501/),
    });
  });
});
