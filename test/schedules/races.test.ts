/** Schedulers that race, and locks that others hold: each due tick makes one job, and a lock keeps its tenant alone. */
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import type { Database } from '../../src/db/database.ts';
import { createMetrics } from '../../src/metrics.ts';
import { claimOnce, createClaimMemory } from '../../src/scheduler/claim-round.ts';
import { claimDueTenants } from '../../src/schedules/claim.ts';
import { collectingLog } from '../support/collecting-log.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { ticksAround } from './ticks-around.ts';

let test: TestDatabase;
let database: Database;
beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ systemConnections: 10 });
});
beforeEach(async () => {
  await test.sql`delete from tenants`;
  await test.sql`delete from jobs`;
});
afterAll(() => test.close());

const addTenants = (count: number) => test.sql`
  insert into tenants (id, plan) select 'race-' || n, (array['pro', 'growth', 'free'])[1 + n % 3]
  from generate_series(1, ${count}) n`;
const made = async () =>
  (
    await test.sql`
      select count(*)::int as jobs, count(distinct tenant_id)::int as tenants,
        (select count(*)::int from schedule_ticks where outcome = 'job') as ticks from jobs`
  )[0];
const deadlocks = async () => {
  await test.sql`select pg_stat_force_next_flush()`;
  const [row] = await test.sql`
    select deadlocks::int from pg_stat_database where datname = current_database()`;
  return row?.['deadlocks'];
};
const isDue = async () =>
  (await test.sql`select from tenant_schedules where enabled and next_due <= now() limit 1`)
    .length > 0;

it.each([500, 2_000])(
  'four schedulers on %i due tenants make exactly one job each, without a deadlock',
  async (tenants) => {
    await addTenants(tenants);
    const before = await deadlocks();
    const claimer = async (claimedBy: string) => {
      while (await isDue()) await claimDueTenants(database.system, { claimedBy, limit: 150 });
    };
    await Promise.all(['a', 'b', 'c', 'd'].map(claimer));
    expect(await made()).toEqual({ jobs: tenants, tenants, ticks: tenants });
    expect(await deadlocks()).toBe(before);
    const by = await test.sql`select distinct claimed_by from schedule_ticks`;
    expect(by.length).toBeGreaterThan(1);
  },
);

it('schedulers whose clocks are 90 s apart make one job for each tick, and none early', async () => {
  await addTenants(60);
  const startedAt = Date.now();
  const clocks = [-90_000, -30_000, 30_000, 90_000];
  try {
    // The clock of the process; that of the database is what counts.
    for (const offMs of clocks) {
      vi.useFakeTimers({ toFake: ['Date'], now: startedAt + offMs });
      await claimDueTenants(database.system, { limit: 15 });
      await claimDueTenants(database.system, { limit: 15 });
    }
  } finally {
    vi.useRealTimers();
  }
  while ((await claimDueTenants(database.system)).claimed > 0);
  expect(await made()).toEqual({ jobs: 60, tenants: 60, ticks: 60 });
  const [early] = await test.sql`
    select count(*)::int as n from schedule_ticks where bucket > claimed_at or claimed_at > now()`;
  expect(early).toEqual({ n: 0 });
});

it('open foreign-key inserts of 50 tenants skip nobody', async () => {
  await addTenants(80);
  await database.system.begin(async (tx) => {
    await tx`
      insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
      select id, 'open', 'x', 1 from tenants order by id limit 50`;
    expect(await claimDueTenants(test.sql)).toMatchObject({ claimed: 80, created: 80 });
  });
});

it('a held tick key keeps its tenant alone; the round after it does not wait for it', async () => {
  await addTenants(40);
  const { log, lines } = collectingLog();
  const options = { sql: database.system, log: silentLog, metrics: createMetrics() };
  const memory = createClaimMemory(log);
  const { current } = ticksAround('0 * * * *', 'UTC', new Date());
  let rounds = 0;
  const held = database.system.begin(async (tx) => {
    await tx`
      insert into purser.ticks (tenant_id, job_type, bucket, due_at, claimed_by, job_id, expires_at)
      values ('race-3', 'finops_analysis', ${current}, now(), 'test', 0, now())`;
    expect(await claimOnce({ ...options, ...memory })).toBe(39);
    expect(memory.unclaimed.list()).toEqual(['race-3']);
    // The others are due again.
    await test.sql`update tenant_schedules set last_bucket = null, next_bucket = null, next_due = now()`;
    await test.sql`delete from purser.ticks`;
    expect(await claimOnce({ ...options, ...memory })).toBe(39);
    rounds = 2;
    throw new Error('roll back');
  });
  await expect(held).rejects.toThrow('roll back');
  expect(rounds).toBe(2);
  expect(lines).toMatchObject([{ event: 'schedule_not_claimed', tenantId: 'race-3' }]);
  expect(await claimOnce(options)).toBe(1);
  const [row] = await test.sql`select count(*)::int as n from jobs where tenant_id = 'race-3'`;
  expect(row).toEqual({ n: 1 });
});

it('a tenant that is deleted while its schedule is claimed leaves no job and no tick', async () => {
  await addTenants(3);
  let gone: Promise<unknown> = Promise.resolve();
  await database.system.begin(async (tx) => {
    // As a claim does: the row is locked, then the tick is written.
    await tx`select from tenant_schedules where tenant_id = 'race-1' for no key update`;
    gone = database.system`delete from tenants where id = 'race-1'`.execute();
    await vi.waitFor(async () => {
      const waiting = await test.sql`select from pg_locks where not granted`;
      expect(waiting.length).toBeGreaterThan(0);
    }, 60_000);
    await tx`
      insert into purser.ticks (tenant_id, job_type, bucket, due_at, claimed_by, job_id, expires_at)
      values ('race-1', 'finops_analysis', now(), now(), 'test', null, now())`;
  });
  await gone;
  expect(await test.sql`select from purser.ticks where tenant_id = 'race-1'`).toEqual([]);
});

it('a scheduler whose session ends inside a claim leaves nothing half done; another one does it', async () => {
  await addTenants(20);
  const victim = await test.open({ systemConnections: 1 });
  const [session] = await victim.system<{ pid: number }[]>`select pg_backend_pid() as pid`;
  const lock = await database.system.reserve();
  await lock`begin`;
  // The claim has locked its schedules and waits before its last row.
  await lock`
    insert into purser.ticks (tenant_id, job_type, bucket, due_at, claimed_by, job_id, expires_at)
    select tenant_id, job_type, ${ticksAround('0 * * * *', 'UTC', new Date()).current}, now(), 'test', 0, now()
    from tenant_schedules s join tenants t on t.id = s.tenant_id and t.plan = 'pro'
    order by s.next_due desc limit 1`;
  const claim = claimDueTenants(victim.system).then(
    () => 'ended',
    () => 'failed',
  );
  await vi.waitFor(async () => {
    const waiting =
      await test.sql`select from pg_locks where not granted and pid = ${session?.pid ?? 0}`;
    expect(waiting.length).toBeGreaterThan(0);
  }, 60_000);
  await lock`select pg_terminate_backend(${session?.pid ?? 0})`;
  expect(await claim).toBe('failed');
  expect(await made()).toEqual({ jobs: 0, tenants: 0, ticks: 0 });
  await lock`rollback`;
  lock.release();
  expect(await claimDueTenants(database.system)).toMatchObject({ claimed: 20, created: 20 });
  expect(await made()).toEqual({ jobs: 20, tenants: 20, ticks: 20 });
});
