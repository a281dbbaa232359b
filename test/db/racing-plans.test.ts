/**
 * Four connections that race for due schedules, for waiting jobs and for the backlog of one tenant touch a bounded number
 * of blocks per row, on tables that were never analysed, with plans that were made while these were empty: no planner
 * switch is set here, and no statistics are gathered.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Sql } from '../../src/db/connect.ts';
import { claimWaitingJobs } from '../../src/jobs/dispatch.ts';
import { enqueueMany } from '../../src/jobs/enqueue.ts';
import { setJobLimit } from '../../src/jobs/limits/job-limits.ts';
import { claimDueTenants } from '../../src/schedules/claim.ts';
import { addJobType, step } from '../jobs/job-steps.ts';
import { grow, hits, onePlanSession, openPlanTables } from './buffers.ts';
import type { PlanTables } from './buffers.ts';

const types = ['race_a', 'race_b', 'race_c', 'race_d'];
/** Tenants whose schedules are due, or that have a waiting job of each type. */
const many = 2_000;
/** Rows that a call asks for, and calls of each racer. */
const few = 10;
const calls = 5;
/** Each race touches 60 at most. To join all that is due, or to walk all that waits, would add 350. */
const mostPerRow = 100;

const boundText = `each call touches at most ${mostPerRow} blocks per row`;
const areBounded = (measured: readonly number[]): boolean =>
  measured.every((blocks) => blocks <= mostPerRow);

let tables: PlanTables;
let racers: readonly Sql[];
beforeAll(async () => {
  tables = await openPlanTables();
  const { early, url } = tables;
  for (const type of types) await addJobType(early, type);
  await early`insert into tenants (id, max_backlog_jobs) values ('limited', 100000)`;
  racers = types.map(() => onePlanSession(url));
  for (let run = 0; run < 7; run += 1) {
    await addDue(`early-${run}`, 4);
    await addWaiting(`early-${run}`, 4);
    for (const racer of racers) {
      await claimDueTenants(racer, { limit: 1 });
      await dispatch(racer, types, 1);
      await enqueueMany(racer, [{ tenantId: 'limited', jobType: 'race_a' }]);
    }
    await early`delete from tenants where id like 'early-%'`;
    await early`delete from jobs where tenant_id = 'limited'`;
  }
  await grow(early, 10_000, 0);
  // Of others, and of a type that nobody dispatches.
  await early`
    with made as (
      insert into jobs (tenant_id, job_type, max_attempts)
      select 'tenant-' || 1 + n % 10, ${step}, 3 from generate_series(1, 20000) n returning id, tenant_id
    ), postponed as (
      insert into purser.later (job_id, tenant_id, job_type, priority, scheduled_for, give_up_at)
      select id, tenant_id, ${step}, 0, now() + interval '1 day', now() + interval '2 days' from made where id % 2 = 0)
    insert into purser.waiting (job_id, tenant_id, job_type, priority, scheduled_for, give_up_at)
    select id, tenant_id, ${step}, 0, now(), now() + interval '1 day' from made where id % 2 = 1`;
}, 120_000);
afterAll(async () => {
  await Promise.all(racers.map((racer) => racer.end({ timeout: 5 })));
  await tables.close();
});

/** Tenants whose schedules are due: they never ran. */
const addDue = (name: string, count: number) => tables.early`
  insert into tenants (id, plan)
  select ${name} || '-' || n, (array['pro', 'growth', 'free'])[1 + n % 3] from generate_series(1, ${count}) n`;

/** One job of each type for each of these tenants. */
const addWaiting = (name: string, count: number) => tables.early`
  insert into background_jobs (tenant_id, job_type, max_attempts, give_up_at)
  select ${name} || '-' || n, t.job_type, 3, now() + interval '1 day'
  from generate_series(1, ${count}) n cross join unnest(${types}::text[]) t (job_type)`;

const dispatch = async (sql: Sql, jobTypes: readonly string[], capacity: number) =>
  (
    await claimWaitingJobs(
      sql,
      jobTypes.map((jobType) => ({ jobType, capacity })),
    )
  ).length;

async function hitsOfAll(): Promise<number> {
  for (const racer of racers) await racer`select pg_stat_force_next_flush()`;
  return hits(tables.early);
}

/** Blocks that the racers touch. */
async function touched(race: () => Promise<void>): Promise<number> {
  const before = await hitsOfAll();
  await race();
  return (await hitsOfAll()) - before;
}

/** Each racer's transaction is open until all have had their turn: each meets what those before it have locked. */
async function inOpenTransactions(
  turn: (racer: Sql, index: number) => Promise<number>,
): Promise<number[]> {
  const counts: number[] = [];
  for (const racer of racers) await racer.unsafe('begin');
  for (const [index, racer] of racers.entries()) counts.push(await turn(racer, index));
  for (const racer of racers) await racer.unsafe('commit');
  return counts;
}

/** All at once. Returns the rows that they got; a call that found everything locked counts as one. */
async function atOnce(run: (racer: Sql) => Promise<number>): Promise<number> {
  let rows = 0;
  await Promise.all(
    racers.map(async (racer) => {
      for (let call = 0; call < calls; call += 1) {
        const got = await run(racer);
        rows += Math.max(1, got);
      }
    }),
  );
  return rows;
}

const claim = async (racer: Sql) => (await claimDueTenants(racer, { limit: few })).claimed;

it('claims of due schedules', async () => {
  await addDue('due', many);
  let counts: number[] = [];
  let rows = 0;
  const held = await touched(async () => {
    counts = await inOpenTransactions(claim);
  });
  expect(counts).toEqual(types.map(() => few));
  const raced = await touched(async () => {
    rows = await atOnce(claim);
  });
  expect([held / (4 * few), raced / rows]).toSatisfy(areBounded, boundText);
});

const by = 'test';
const limitMany = async (): Promise<void> => {
  await setJobLimit(tables.early, { jobType: 'race_a' }, { maxRunning: 100_000, by });
  for (let n = 1; n <= 100; n += 1) {
    await setJobLimit(tables.early, { tenantId: `due-${n}` }, { maxRunning: 100_000, by });
  }
};

const limitStartsAndGroups = async (): Promise<void> => {
  const starts = { maxStarts: 100_000, perSeconds: 60, by };
  await setJobLimit(tables.early, { jobType: 'race_a' }, starts);
  for (let n = 1; n <= 100; n += 1) {
    await setJobLimit(tables.early, { tenantId: `due-${n}` }, starts);
  }
  await setJobLimit(tables.early, { group: 'user:*' }, { maxRunning: 100_000, by });
  await tables.early`
    update purser.waiting set group_name = 'user:' || job_id % 50 where job_type = 'race_b'`;
};

it.each([
  ['without limits', async () => {}],
  ['with limits of types and tenants', limitMany],
  ['with limits of starts and groups', limitStartsAndGroups],
])('dispatch, %s', async (_, setLimits) => {
  await setLimits();
  await addWaiting('due', many);
  let counts: number[] = [];
  let rows = 0;
  const held = await touched(async () => {
    // Each is refused the turns of the types that those before it serve, and serves one more.
    counts = await inOpenTransactions((racer, index) =>
      dispatch(racer, types.slice(0, index + 1), few),
    );
  });
  expect(counts[0]).toBe(few);
  const raced = await touched(async () => {
    rows = await atOnce((racer) => dispatch(racer, types, few));
  });
  const served = counts.reduce((sum, count) => sum + Math.max(1, count), 0);
  expect([held / served, raced / rows]).toSatisfy(areBounded, boundText);
});

it('enqueues of one tenant whose backlog has a limit', async () => {
  const requests = Array.from({ length: few }, () => ({ tenantId: 'limited', jobType: 'race_a' }));
  let rows = 0;
  const raced = await touched(async () => {
    rows = await atOnce(async (racer) => (await enqueueMany(racer, requests)).length);
  });
  expect(rows).toBe(4 * calls * few);
  expect([raced / rows]).toSatisfy(areBounded, boundText);
});
