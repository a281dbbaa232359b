import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Database } from '../../src/db/database.ts';
import { createMetrics } from '../../src/metrics.ts';
import { deadlockPausesMs, withDeadlockRetry } from '../../src/scheduler/deadlock-retry.ts';
import { claimOnce } from '../../src/scheduler/claim-round.ts';
import { claimDueTenants } from '../../src/schedules/claim.ts';
import { collectingLog } from '../support/collecting-log.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { untilWaiting } from '../support/holds.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { addTenant } from '../support/tenants.ts';
import { ticksAround } from '../schedules/ticks-around.ts';

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

const jobs = () => test.sql`select tenant_id, dedup_key, state from background_jobs order by id`;
const schedule = async (tenantId: string) =>
  (
    await test.sql`select next_due, last_bucket from tenant_schedules where tenant_id = ${tenantId}`
  )[0];

describe('a scheduler', () => {
  it('makes key, job and next due time together or not at all: test_scheduler_uses_single_transaction', async () => {
    const tenantId = await addTenant(test.sql);
    const before = await schedule(tenantId);
    // The last statement of the claim fails; what came before it has to go with it.
    await test.sql.unsafe(`
      create function refuse_advance() returns trigger language plpgsql as $$
      begin raise exception 'the disk is full' using errcode = '53100'; end $$;
      create trigger refuse_advance before update on tenant_schedules
        for each row execute function refuse_advance()`);
    await expect(claimDueTenants(test.sql)).rejects.toMatchObject({ code: '53100' });
    expect(await jobs()).toEqual([]);
    expect(await test.sql`select from purser.ticks`).toEqual([]);
    expect(await schedule(tenantId)).toEqual(before);
    await test.sql.unsafe('drop function refuse_advance() cascade');
    expect(await claimDueTenants(test.sql)).toMatchObject({ created: 1 });
    expect(await jobs()).toHaveLength(1);
  });

  it('skips schedules locked by another one: test_scheduler_skip_locked_prevents_blocking', async () => {
    const [held, free] = [await addTenant(test.sql), await addTenant(test.sql)];
    await database.system.begin(async (tx) => {
      await tx`select from tenant_schedules where tenant_id = ${held} for no key update`;
      expect(await claimDueTenants(test.sql)).toMatchObject({ claimed: 1, created: 1 });
      expect(await jobs()).toMatchObject([{ tenant_id: free }]);
    });
    expect(await claimDueTenants(test.sql)).toMatchObject({ claimed: 1, created: 1 });
    expect(await jobs()).toHaveLength(2);
  });

  it('survives two real deadlocks in a row, waiting longer each time: test_scheduler_deadlock_retry_exponential_backoff', async () => {
    const tenantId = await addTenant(test.sql);
    const metrics = createMetrics();
    const { current } = ticksAround('0 */3 * * *', 'UTC', new Date());
    const dedupKey = `${tenantId}:finops_analysis:${current.toISOString().replace('.000', '')}`;

    /** Has the tick's key, and wants the schedule that the claim has locked. */
    const provoke = (claims: number) =>
      database.system
        .begin(async (tx) => {
          await tx`
            insert into purser.ticks (tenant_id, job_type, bucket, due_at, claimed_by, job_id, expires_at)
            values (${tenantId}, 'finops_analysis', ${current}, now(), 'test', 0, now())`;
          provoked.push(claims);
          await untilWaiting(test.sql, 1);
          // Who has waited for a second looks for a deadlock, and ends: it is to be the claim.
          await sleep(400);
          await tx`update tenant_schedules set next_due = next_due where tenant_id = ${tenantId}`;
          throw new Error('roll back');
        })
        .catch(() => {});
    const provoked: number[] = [];
    const first = provoke(1);
    while (provoked.length < 1) await new Promise((resolve) => setImmediate(resolve));
    const claimed = claimOnce({ sql: database.system, log: silentLog, metrics });
    await first;
    await provoke(2);
    expect(await claimed).toBe(1);

    expect((await metrics.deadlocks.get()).values[0]?.value).toBe(2);
    const pauses = await metrics.deadlockBackoffSeconds.get();
    expect(pauses.values.find(({ metricName }) => metricName?.endsWith('_sum'))?.value).toBe(1 + 2);
    expect(await jobs()).toMatchObject([{ dedup_key: dedupKey, state: 'pending' }]);
    expect(deadlockPausesMs).toEqual([1_000, 2_000, 4_000]);
  });

  it.each(['40P01', '40001'])(
    'leaves the tick to the next round after the last try (%s)',
    async (code) => {
      const metrics = createMetrics();
      const { log, lines } = collectingLog();
      let tries = 0;
      const given = await withDeadlockRetry({ log, metrics, pausesMs: [1, 2, 4] }, () => {
        tries += 1;
        return test.sql.unsafe(
          `do $$ begin raise exception 'again' using errcode = '${code}'; end $$`,
        );
      });
      expect([given, tries]).toEqual([undefined, 4]);
      expect((await metrics.deadlocks.get()).values[0]?.value).toBe(4);
      expect(lines.at(-1)).toMatchObject({
        event: 'scheduler_deadlock_max_retries_exceeded',
        tries: 4,
      });
    },
  );

  it('does not retry other errors', async () => {
    const metrics = createMetrics();
    const failing = withDeadlockRetry({ log: silentLog, metrics }, () => test.sql`select 1 / 0`);
    await expect(failing).rejects.toMatchObject({ code: '22012' });
    expect((await metrics.deadlocks.get()).values[0]?.value).toBe(0);
  });
});
