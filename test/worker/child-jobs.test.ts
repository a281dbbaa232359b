/** A child job belongs to the transaction that its handler has open: both commit, or neither does. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { enqueue } from '../../src/handlers/client.ts';
import { defineHandler } from '../../src/handlers/define.ts';
import type { JobContext } from '../../src/handlers/define.ts';
import { jobRow, untilState } from '../jobs/job-steps.ts';
import { addTenant } from '../support/tenants.ts';
import { openFleet } from './fleet.ts';
import type { Fleet } from './fleet.ts';

type Act = (ctx: JobContext<{ how: string }>) => Promise<unknown>;

const acts: Readonly<Record<string, Act>> = {
  'a rollback': (ctx) =>
    ctx.sql.begin(async () => {
      await ctx.enqueue('test_child', {}, { dedupKey: ctx.jobId });
      throw new Error('rolled back');
    }),
  'a commit': (ctx) =>
    ctx.sql.begin(async () => {
      await ctx.enqueue('test_child', {}, { dedupKey: ctx.jobId });
    }),
  'a completion': (ctx) =>
    ctx.sql.begin(() => ctx.enqueue('test_child', {}, { dedupKey: ctx.jobId }), { complete: true }),
  'a completion that fails': (ctx) =>
    ctx.sql.begin(
      async (tx) => {
        await ctx.enqueue('test_child', {}, { dedupKey: ctx.jobId });
        await tx`select 1 / 0`;
      },
      { complete: true },
    ),
  'a savepoint that is rolled back': (ctx) =>
    ctx.sql.begin(async (tx) => {
      await tx
        .savepoint(async () => {
          await ctx.enqueue('test_child', {}, { dedupKey: ctx.jobId });
          throw new Error('rolled back');
        })
        .catch(() => {});
    }),
  'of a group': (ctx) => ctx.enqueue('test_child', {}, { dedupKey: ctx.jobId, group: 'user:42' }),
  'no transaction': (ctx) => ctx.enqueue('test_child', {}, { dedupKey: ctx.jobId }),
};

const parent = defineHandler({
  type: 'test_parent',
  timeoutMs: 20_000,
  maxAttempts: 1,
  payload: z.object({ how: z.string() }),
  run: async (ctx) => {
    await acts[ctx.payload.how]?.(ctx);
  },
});
const child = defineHandler({
  type: 'test_child',
  timeoutMs: 20_000,
  maxAttempts: 1,
  payload: z.looseObject({}),
  run: async () => {},
});

let fleet: Fleet;
let tenantId: string;
beforeAll(async () => {
  fleet = await openFleet(undefined);
  await fleet.startWorker([parent, child]);
  tenantId = await addTenant(fleet.database.system);
});
afterAll(() => fleet.close());

it('a child job is of the group that its parent names', async () => {
  const { system } = fleet.database;
  const { jobId } = await enqueue(system, parent, { tenantId, payload: { how: 'of a group' } });
  await untilState(system, jobId, 'completed');
  const groups = await system`
    select group_name from background_jobs where job_type = 'test_child' and dedup_key = ${jobId}`;
  expect([...groups]).toEqual([{ group_name: 'user:42' }]);
});

const childrenOf = async (jobId: string): Promise<number> => {
  const rows = await fleet.database.system`
    select from background_jobs where job_type = 'test_child' and dedup_key = ${jobId}`;
  return rows.count;
};

it.each([
  ['a rollback', 'dead_letter', 0],
  ['a commit', 'completed', 1],
  ['a completion', 'completed', 1],
  ['a completion that fails', 'dead_letter', 0],
  ['a savepoint that is rolled back', 'completed', 0],
  ['no transaction', 'completed', 1],
] as const)(
  '%s of the handler: the job is %s and has %i children',
  async (how, state, children) => {
    const { jobId } = await enqueue(fleet.database.system, parent, { tenantId, payload: { how } });
    await untilState(fleet.database.system, jobId, state);
    expect(await jobRow(fleet.database.system, jobId)).toMatchObject({ state });
    expect(await childrenOf(jobId)).toBe(children);
  },
);

it('transactions that enqueue need no second session each, however many run at once', async () => {
  const jobs = await Promise.all(
    Array.from({ length: 12 }, () =>
      enqueue(fleet.database.system, parent, { tenantId, payload: { how: 'a commit' } }),
    ),
  );
  for (const { jobId } of jobs) await untilState(fleet.database.system, jobId, 'completed');
  expect(await Promise.all(jobs.map(({ jobId }) => childrenOf(jobId)))).toEqual(jobs.map(() => 1));
});
