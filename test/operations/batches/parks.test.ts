/** Replayed jobs that a worker runs, one of a tenant with room in its month and one of a tenant without. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { releaseReservation } from '../../../src/budget/settle.ts';
import { defineHandler } from '../../../src/handlers/define.ts';
import { wakeParkedJobs } from '../../../src/jobs/sweep.ts';
import { startBatch } from '../../../src/operations/batches/acts.ts';
import { previewBatch } from '../../../src/operations/batches/preview.ts';
import { addJob, addJobType, runningJob, untilState } from '../../jobs/job-steps.ts';
import { reserve } from '../../support/holds.ts';
import { startProvider } from '../../support/provider.ts';
import type { TestProvider } from '../../support/provider.ts';
import { addTenant } from '../../support/tenants.ts';
import { openFleet } from '../../worker/fleet.ts';
import type { Fleet } from '../../worker/fleet.ts';
import { alice, replaysOf, untilOver } from './batch-database.ts';

const model = 'ten-cents';
let provider: TestProvider;
let fleet: Fleet;
beforeAll(async () => {
  provider = await startProvider();
  fleet = await openFleet(undefined, true, {
    kind: 'openai',
    model,
    apiKey: 'sk-test',
    baseUrl: provider.url,
    timeoutMs: 20_000,
  });
  await addJobType(fleet.test.sql);
  await fleet.test.sql`
    insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok)
    values (${model}, '2020-01-01', 0, 1000)`;
});
afterAll(async () => {
  await fleet.close();
  await provider.stop();
});

it('a replayed job of a tenant without room is told in the preview, parks without a call, and runs when there is room', async () => {
  let broken = true;
  const handler = defineHandler({
    type: 'test_asks',
    timeoutMs: 20_000,
    maxAttempts: 1,
    payload: z.object({}),
    run: async ({ llm }) => {
      await llm.generate({ system: 's', prompt: 'p', maxOutputTokens: 100 });
      if (broken) throw new Error('broken after its call');
    },
  });
  await fleet.startWorker([handler]);
  const { sql } = fleet.test;
  const rich = await addTenant(sql, { limitUsd: '1' });
  const poor = await addTenant(sql, { limitUsd: '1' });
  const ids = [
    await addJob(sql, rich, { jobType: handler.type }),
    await addJob(sql, poor, { jobType: handler.type }),
  ];
  for (const id of ids) await untilState(sql, id, 'dead_letter');
  const calls = provider.received.length;
  broken = false;
  const { reservationId } = await reserve(
    sql,
    { ...(await runningJob(sql, poor)), tenantId: poor },
    '0.99',
  );

  const filter = { jobType: handler.type };
  const preview = await previewBatch(sql, alice, { act: 'replay', filter });
  expect(preview).toMatchObject({
    jobs: 2,
    worstCaseNanoUsd: 200_000_000n,
    blocked: { budget: 1, cap: 0, pause: 0 },
    blockedGroups: [{ tenantId: poor, jobType: handler.type, budget: 1 }],
  });
  const { batchId } = preview;
  await startBatch(sql, alice, { batchId, perSecond: 1_000, reason: 'mended' });
  expect(await untilOver(sql, batchId)).toMatchObject({ state: 'completed', done: 2 });
  const replays = await replaysOf(sql, ids);
  const [runs = '', parks = ''] = ids.map((id) => replays.get(id));
  await untilState(sql, runs, 'completed');
  expect(await untilState(sql, parks, 'parked')).toMatchObject({ attempt: 0 });
  expect(provider.received.length - calls).toBe(1);

  expect(await wakeParkedJobs(sql)).toBe(0);
  await releaseReservation(sql, { reservationId });
  expect(await wakeParkedJobs(sql)).toBe(1);
  await untilState(sql, parks, 'completed');
  expect(provider.received.length - calls).toBe(2);
});
