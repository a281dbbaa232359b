/** Leases are dated by the database's clock, so no scheduler's own clock may judge them. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createMetrics } from '../../src/metrics.ts';
import { sweepOnce } from '../../src/scheduler/sweep-round.ts';
import { addJobType, jobRow, runningJob } from '../jobs/job-steps.ts';
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
  tenantId = await addTenant(fleet.test.sql);
});
afterAll(() => fleet.close());

const minutesMs = 60_000;
const sweepAt = (offMs: number) =>
  sweepOnce(
    {
      sql: fleet.database.system,
      transport: fleet.transport,
      log: silentLog,
      metrics: createMetrics(),
      leaseMs: 1,
      reconcileAfterMs: 10_000,
      more: [],
    },
    new Date(Date.now() + offMs),
  );

it('a scheduler whose clock is ahead takes no job from a worker that lives', async () => {
  const { jobId } = await runningJob(fleet.test.sql, tenantId);
  await sweepAt(5 * minutesMs);
  expect(await jobRow(fleet.test.sql, jobId)).toMatchObject({ state: 'running', losses: 0 });
});

it('a scheduler whose clock is behind takes back what a dead worker had', async () => {
  const { jobId } = await runningJob(fleet.test.sql, tenantId, {}, -1);
  await sweepAt(-5 * minutesMs);
  expect(await jobRow(fleet.test.sql, jobId)).toMatchObject({ state: 'pending', losses: 1 });
});
