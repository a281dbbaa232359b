/** The database's clock decides what is due: a process whose clock is wrong does its work at the right time. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { checkClock } from '../../src/cli/doctor/checks/database.ts';
import { removeHeartbeat, writeHeartbeat } from '../../src/db/heartbeats.ts';
import { createMetrics } from '../../src/metrics.ts';
import { claimOnce } from '../../src/scheduler/claim-round.ts';
import { claimDueTenants } from '../../src/schedules/claim.ts';
import { sweepOnce } from '../../src/scheduler/sweep-round.ts';
import { addJob, addJobType, claim, finish, jobRow, runningJob } from '../jobs/job-steps.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { addTenant } from '../support/tenants.ts';
import { openFleet } from '../worker/fleet.ts';
import type { Fleet } from '../worker/fleet.ts';

let fleet: Fleet;
let tenantId: string;
beforeAll(async () => {
  fleet = await openFleet(undefined, false);
  await addJobType(fleet.test.sql);
});
beforeEach(async () => {
  await fleet.test.sql`delete from tenants`;
  tenantId = await addTenant(fleet.test.sql, { plan: 'pro' });
});
afterEach(() => void vi.useRealTimers());
afterAll(() => fleet.close());

const hourMs = 3_600_000;
/** From now on `Date` of this process is off by so much; timers are not. */
function setClockOff(offMs: number): void {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + offMs });
}

describe.each([-hourMs, hourMs])('a process whose clock is %i ms ahead', (offMs) => {
  it('claims the schedules that are due, and no others', async () => {
    const { sql } = fleet.test;
    const later = await addTenant(sql, { plan: 'pro' });
    await sql`
      update tenant_schedules set next_due = now() + interval '30 minutes' where tenant_id = ${later}`;
    setClockOff(offMs);
    expect(await claimOnce({ sql, log: silentLog, metrics: createMetrics() })).toBe(1);
    const [job] = await sql`
      select tenant_id, scheduled_for <= now() as due, (state_detail->>'bucket')::timestamptz <= now() as past
      from background_jobs`;
    expect(job).toEqual({ tenant_id: tenantId, due: true, past: true });
  });

  it('claims them one tenant at a time too, where the rows of one tenant cannot be claimed', async () => {
    const { sql } = fleet.test;
    const bad = await addTenant(sql, { plan: 'pro' });
    await sql.unsafe(`
      create function refuse_one() returns trigger language plpgsql as $$
      begin
        if old.tenant_id = '${bad}' then raise exception 'this row is bad' using errcode = '23514'; end if;
        return new;
      end $$;
      create trigger refuse_one before update on tenant_schedules for each row execute function refuse_one()`);
    setClockOff(offMs);
    const faults: string[] = [];
    const claimed = await claimDueTenants(sql, { onTenantFault: (id) => faults.push(id) });
    await sql.unsafe('drop function refuse_one() cascade');
    expect([claimed.created, faults]).toEqual([1, [bad]]);
  });

  it('dispatches the jobs that are due, and no others', async () => {
    const { sql } = fleet.test;
    const due = await addJob(sql, tenantId);
    const later = await addJob(sql, tenantId);
    await sql`
      update background_jobs set scheduled_for = now() + interval '30 minutes' where id = ${later}`;
    setClockOff(offMs);
    expect((await claim(sql)).map(({ jobId }) => jobId)).toEqual([due]);
  });

  it('sweeps what has expired, and nothing else', async () => {
    const { sql } = fleet.test;
    const [live, lost] = [await runningJob(sql, tenantId), await runningJob(sql, tenantId, {}, -1)];
    const [fresh, late] = [await addJob(sql, tenantId), await addJob(sql, tenantId)];
    await sql`update background_jobs set give_up_at = now() + interval '30 minutes' where id = ${fresh}`;
    await sql`update background_jobs set give_up_at = now() - interval '1 minute' where id = ${late}`;
    setClockOff(offMs);
    await sweepOnce({
      sql,
      transport: fleet.transport,
      log: silentLog,
      metrics: createMetrics(),
      reconcileAfterMs: 10_000,
      more: [],
    });
    const states = [];
    for (const id of [live.jobId, lost.jobId, fresh, late])
      states.push((await jobRow(sql, id)).state);
    expect(states).toEqual(['running', 'pending', 'pending', 'dead_letter']);
  });

  it('delays the next attempt by the time that it meant', async () => {
    const { sql } = fleet.test;
    const attempt = await runningJob(sql, tenantId);
    setClockOff(offMs);
    await finish(sql, attempt, {
      toState: 'failed',
      error: { code: 'flaky', message: 'flaky' },
      afterMs: 60_000,
    });
    const [row] = await sql<{ seconds: number }[]>`
      select extract(epoch from scheduled_for - now())::float8 as seconds from background_jobs`;
    expect(row?.seconds).toBeGreaterThan(50);
    expect(row?.seconds).toBeLessThanOrEqual(60);
  });

  it('is named by doctor, and its progress is dated by the database', async () => {
    const { sql } = fleet.test;
    setClockOff(offMs);
    await writeHeartbeat(sql, {
      processId: 'worker-x',
      role: 'worker',
      version: '0',
      hostname: 'x',
      pid: 1,
      jobTypes: [],
      typeSlots: [],
      slots: 1,
      running: 0,
      progressedAt: new Date(),
      metrics: [],
    });
    vi.useRealTimers();
    const [beat] = await sql<{ seconds: number }[]>`
      select abs(extract(epoch from now() - progressed_at))::float8 as seconds from heartbeats`;
    expect(beat?.seconds).toBeLessThan(30);
    const found = await checkClock(sql);
    expect(JSON.stringify(found)).toMatch(
      offMs > 0 ? /worker-x is 3[56]\d{5} ms ahead/ : /worker-x is 3[56]\d{5} ms behind/,
    );
    await removeHeartbeat(sql, 'worker-x');
    expect(JSON.stringify(await checkClock(sql))).not.toContain('worker-x');
  });
});
