import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Database } from '../../src/db/database.ts';
import { claimDueTenants } from '../../src/schedules/claim.ts';
import type { ClaimOptions } from '../../src/schedules/claim.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';

let test: TestDatabase;
let database: Database;
beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ systemConnections: 6 });
});
beforeEach(async () => {
  await test.sql`delete from tenants`;
});
afterAll(() => test.close());

const at = (text: string) => new Date(text);
/** A claim as if the database's clock showed `now`. */
const claimAt = (now: Date, options: ClaimOptions = {}) =>
  claimDueTenants(test.sql, { ...options, offsetMs: now.getTime() - Date.now() });
const dueAt = (now: Date) => test.sql`update tenant_schedules set next_due = ${now}`;

describe('a claim', () => {
  it('makes one job per tick, named by tenant, type and the tick in UTC', async () => {
    const tenantId = await addTenant(test.sql, { plan: 'pro' });
    const now = at('2031-05-06T07:08:09Z');
    await dueAt(now);
    expect(await claimAt(now)).toEqual({
      claimed: 1,
      created: 1,
      deduplicated: 0,
      missed: 0,
      putOff: 0,
    });
    const [job] = await test.sql`select dedup_key, state_detail from background_jobs`;
    expect(job).toEqual({
      dedup_key: `${tenantId}:finops_analysis:2031-05-06T07:00:00Z`,
      state_detail: { cohort: 'high_value', bucket: expect.stringContaining('2031-05-06') },
    });
    await dueAt(now);
    expect(await claimAt(now)).toMatchObject({ claimed: 1, created: 0, deduplicated: 0 });
    await test.sql`update tenant_schedules set last_bucket = null, next_due = ${now}`;
    expect(await claimAt(now)).toMatchObject({ claimed: 1, created: 0, deduplicated: 1 });
  });

  it('by four schedulers at once on 500 tenants makes exactly one job each', async () => {
    await test.sql`insert into tenants (id) select 'many-' || n from generate_series(1, 500) n`;
    let open = true;
    const claimer = async () => {
      while (open) {
        await claimDueTenants(database.system, { limit: 60 });
        const [due] = await test.sql`
          select count(*)::int as n from tenant_schedules where next_due <= now()`;
        open = due?.['n'] !== 0;
      }
    };
    await Promise.all([claimer(), claimer(), claimer(), claimer()]);
    const [made] = await test.sql`
      select count(*)::int as jobs, count(distinct tenant_id)::int as tenants from background_jobs`;
    expect(made).toEqual({ jobs: 500, tenants: 500 });
  });

  it('replaces missed ticks by the newest one', async () => {
    await addTenant(test.sql, { plan: 'pro' });
    const now = at('2031-05-06T17:08:09Z');
    await dueAt(at('2031-05-06T02:00:00Z'));
    expect(await claimAt(now)).toMatchObject({ created: 1 });
    const [row] = await test.sql`select last_bucket from tenant_schedules`;
    expect(row?.['last_bucket']).toEqual(at('2031-05-06T17:00:00Z'));
    expect(await claimAt(now)).toMatchObject({ claimed: 0 });
  });

  it('leaves the schedules of excluded job types as they are, and makes one tick when they return', async () => {
    await addTenant(test.sql, { plan: 'pro' });
    await dueAt(at('2031-05-06T02:00:00Z'));
    const now = at('2031-05-06T17:08:09Z');
    const excluded = { excludedJobTypes: ['finops_analysis'] };
    expect(await claimAt(now, excluded)).toMatchObject({ claimed: 0 });
    const [row] = await test.sql`select next_due, last_bucket from tenant_schedules`;
    expect(row).toEqual({ next_due: at('2031-05-06T02:00:00Z'), last_bucket: null });
    const others = { excludedJobTypes: ['cost_ingestion'] };
    expect(await claimAt(now, others)).toMatchObject({ created: 1 });
    expect(await claimAt(now)).toMatchObject({ claimed: 0 });
  });

  it('gives each tenant a fixed splay below the bound', async () => {
    await test.sql`insert into tenants (id, plan) select 'splay-' || n, 'pro' from generate_series(1, 50) n`;
    const offsets = async (now: Date, next: Date) => {
      await dueAt(now);
      await claimAt(now);
      const rows = await test.sql<{ s: number }[]>`
        select extract(epoch from next_due - ${next})::int as s from tenant_schedules order by tenant_id`;
      return rows.map(({ s }) => s);
    };
    const first = await offsets(at('2031-05-06T07:30:00Z'), at('2031-05-06T08:00:00Z'));
    const second = await offsets(at('2031-05-07T11:30:00Z'), at('2031-05-07T12:00:00Z'));
    expect(second).toEqual(first);
    expect(Math.min(...first)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...first)).toBeLessThan(60);
    expect(new Set(first).size).toBeGreaterThan(10);
  });

  it('is not skipped for a tenant with an open foreign-key insert', async () => {
    const tenantId = await addTenant(test.sql);
    await database.system.begin(async (tx) => {
      await tx`
        insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
        values (${tenantId}, 'open', 'x', 1)`;
      expect(await claimDueTenants(test.sql)).toMatchObject({ created: 1 });
    });
  });

  it('leaves a tenant alone whose cohort has no schedule or a broken one', async () => {
    await addTenant(test.sql, { plan: 'pro' });
    const other = await addTenant(test.sql, { plan: 'growth' });
    const broken: string[] = [];
    await test.sql`update schedules set cron = 'nonsense' where cohort = 'high_value'`;
    const now = new Date();
    const result = await claimAt(now, {
      onInvalid: ({ cron }) => broken.push(cron),
    });
    expect([result.created, broken]).toEqual([1, ['nonsense']]);
    expect(await test.sql`select tenant_id from background_jobs`).toEqual([{ tenant_id: other }]);
    expect(await claimAt(now)).toMatchObject({ claimed: 0 });
    await test.sql`update schedules set cron = '0 * * * *' where cohort = 'high_value'`;
  });
});

it.each([
  ['enterprise', 400, 'high_value'],
  ['pro', 400, 'high_value'],
  ['growth', 400, 'active'],
  ['free', 6, 'active'],
  ['free', 8, 'dormant'],
  ['starter', 8, 'dormant'],
])('a tenant on %s that was active %i days ago is %s', async (plan, days, cohort) => {
  const [row] = await test.sql`
    select purser.cohort_of(${plan}, now() - ${days} * interval '1 day', now()) as cohort`;
  expect(row).toEqual({ cohort });
});
