import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineHandler } from '../../src/handlers/define.ts';
import { addJob, eventually, untilState } from '../jobs/job-steps.ts';
import { addTenant } from '../support/tenants.ts';
import { openFleet } from './fleet.ts';
import type { Fleet } from './fleet.ts';

let fleet: Fleet;

const whoAmI = defineHandler({
  type: 'test_who_am_i',
  timeoutMs: 20_000,
  maxAttempts: 1,
  payload: z.object({}),
  run: async (ctx) => ({
    told: ctx.tenantId,
    tenants: await ctx.sql<{ id: string }>`select id from tenants`,
    role: (await ctx.sql<{ role: string }>`select current_user as role`)[0]?.role,
  }),
});
const trespass = defineHandler({
  type: 'test_trespass',
  timeoutMs: 20_000,
  maxAttempts: 1,
  payload: z.object({ victim: z.string() }),
  run: async ({ sql, payload: { victim } }) => {
    const refused = (error: { code: string }) => error.code;
    return {
      read: await sql`select * from aws_accounts where tenant_id = ${victim}`,
      jobs: await sql`select * from background_jobs`.catch(refused),
      tokens: await sql`select * from purser.in_flight`.catch(refused),
      write: await sql`
        insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
        values (${victim}, 'planted', 'x', 1)`.catch(refused),
    };
  },
});
/** Writes in several transactions, and after each reads every row that it can see. */
const busy = defineHandler({
  type: 'test_busy',
  timeoutMs: 20_000,
  maxAttempts: 1,
  payload: z.object({ n: z.number() }),
  run: async ({ sql, tenantId, payload: { n } }) => {
    const seen = new Set<string>();
    for (let part = 0; part < 4; part += 1) {
      await sql.begin(async (tx) => {
        await tx`
          insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
          values (${tenantId}, ${`${tenantId} ${n} ${part}`}, 'x', 1)`;
        await tx`select pg_sleep(0.005)`;
      });
      const rows = await sql<{ tenant_id: string }>`select tenant_id from aws_accounts`;
      for (const row of rows) seen.add(row.tenant_id);
    }
    return [...seen];
  },
});

beforeAll(async () => {
  fleet = await openFleet(undefined);
  await fleet.startWorker([whoAmI, trespass, busy]);
});
afterAll(() => fleet.close());

const resultOf = async (tenantId: string, jobType: string, payload: object = {}) => {
  const jobId = await addJob(fleet.test.sql, tenantId, { jobType, payload });
  return (await untilState(fleet.test.sql, jobId, 'completed', 'dead_letter')).result;
};

describe('a job', () => {
  it('runs as its own tenant only: test_job_sets_tenant_context', async () => {
    const tenantId = await addTenant(fleet.test.sql);
    await addTenant(fleet.test.sql);
    expect(await resultOf(tenantId, 'test_who_am_i')).toEqual({
      told: tenantId,
      tenants: [{ id: tenantId }],
      role: 'purser_tenant',
    });
  });

  it('reaches nothing of another tenant: test_job_cannot_access_other_tenant_data', async () => {
    const [intruder, victim] = [await addTenant(fleet.test.sql), await addTenant(fleet.test.sql)];
    await fleet.test.sql`
      insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
      values (${victim}, 'secret', 'x', 1)`;
    expect(await resultOf(intruder, 'test_trespass', { victim })).toEqual({
      read: [],
      jobs: '42501',
      tokens: '42501',
      write: '42501',
    });
    const rows = await fleet.test.sql`
      select account_id from aws_accounts where tenant_id = ${victim}`;
    expect(rows).toEqual([{ account_id: 'secret' }]);
  });

  it('that row-level security refuses is counted, and logged with role, statement and job, never with values', async () => {
    const [intruder, victim] = [await addTenant(fleet.test.sql), await addTenant(fleet.test.sql)];
    const counted = async () =>
      (await fleet.metrics.rlsEnforcementFailed.get()).values[0]?.value ?? 0;
    const before = await counted();
    const jobType = 'test_trespass';
    const jobId = await addJob(fleet.test.sql, intruder, { jobType, payload: { victim } });
    await untilState(fleet.test.sql, jobId, 'completed');
    // The handler caught the error. The reports come a few times a second.
    const lines = await eventually('the line', async () => {
      const rows = await fleet.test.sql<{ line: string }[]>`
        select l::text as line from job_log_lines l where job_id = ${jobId}`;
      return rows.length > 0 ? rows.map(({ line }) => line) : undefined;
    });
    expect(lines).toEqual([
      expect.stringMatching(/rls_enforcement_failed.*42501.*purser_tenant.*insert:[0-9a-f]{8}/),
    ]);
    expect(lines.join('\n')).not.toMatch(new RegExp(`${victim}|planted`));
    expect((await counted()) - before).toBe(1);
  });

  it('sees only its own rows beside eleven others on four connections: test_concurrent_jobs_do_not_interfere', async () => {
    const tenants = [];
    for (let n = 0; n < 6; n += 1) tenants.push(await addTenant(fleet.test.sql));
    const results = await Promise.all(
      tenants.flatMap((tenantId) =>
        [1, 2].map(async (n) => ({
          tenantId,
          seen: await resultOf(tenantId, 'test_busy', { n }),
        })),
      ),
    );
    for (const { tenantId, seen } of results) expect(seen).toEqual([tenantId]);
    const [rows] = await fleet.test.sql`
      select count(*)::int as n from aws_accounts where tenant_id = any(${tenants})`;
    expect(rows).toEqual({ n: 6 * 2 * 4 });
  });
});
