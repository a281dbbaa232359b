/** Dispatch obeys pauses, and a pause that has answered is obeyed by everybody. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Queryable, Sql } from '../../src/db/connect.ts';
import type { Database } from '../../src/db/database.ts';
import { beginAttempts, newToken } from '../../src/jobs/attempts.ts';
import { claimWaitingJobs } from '../../src/jobs/dispatch.ts';
import { listPauses, pausesOver, pauseWork, resumeWork } from '../../src/jobs/pauses.ts';
import type { PauseTarget } from '../../src/jobs/pauses.ts';
import { expireWaitingJobs } from '../../src/jobs/sweep.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import { addJob, addJobType, claim, eventually, jobRow, step } from './job-steps.ts';

const other = 'test_other';
let test: TestDatabase;
let database: Database;
let sql: Sql;
let acme: string;
let bolt: string;

beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ systemConnections: 6 });
  sql = database.system;
  await addJobType(sql);
  await addJobType(sql, other);
});
beforeEach(async () => {
  [acme, bolt] = [await addTenant(sql), await addTenant(sql)];
});
afterEach(async () => {
  await sql`delete from pauses`;
  await sql`delete from tenants`;
});
afterAll(() => test.close());

const everything: PauseTarget = { scope: 'all', name: '' };
const type = (name: string): PauseTarget => ({ scope: 'job_type', name });
const tenant = (name: string): PauseTarget => ({ scope: 'tenant', name });
const pause = (target: PauseTarget, reason = 'incident') =>
  pauseWork(sql, { ...target, reason, by: 'alice' });

/** One job of each tenant and type; returns `tenant type` of what a dispatcher takes now. */
async function claimed(): Promise<string[]> {
  const rooms = [step, other].map((jobType) => ({ jobType, capacity: 100 }));
  const jobs = await claimWaitingJobs(sql, rooms);
  return jobs.map(({ tenantId, jobType }) => `${tenantId} ${jobType}`).toSorted();
}
async function addFour(): Promise<void> {
  for (const tenantId of [acme, bolt]) {
    for (const jobType of [step, other]) await addJob(sql, tenantId, { jobType });
  }
}
const named = (...pairs: [string, string][]): string[] =>
  pairs.map((pair) => pair.join(' ')).toSorted();

describe('a pause', () => {
  it('of a job type stops the dispatch of that type only', async () => {
    await addFour();
    await pause(type(step));
    expect(await claimed()).toEqual(named([acme, other], [bolt, other]));
    expect(await claimed()).toEqual([]);
    await resumeWork(sql, type(step));
    expect(await claimed()).toEqual(named([acme, step], [bolt, step]));
  });

  it('of a tenant stops the dispatch of that tenant only', async () => {
    await addFour();
    await pause(tenant(acme));
    expect(await claimed()).toEqual(named([bolt, step], [bolt, other]));
    await resumeWork(sql, tenant(acme));
    expect(await claimed()).toEqual(named([acme, step], [acme, other]));
  });

  it('of everything stops all dispatch, whatever else is resumed', async () => {
    await addFour();
    await pause(everything);
    await pause(type(step));
    await resumeWork(sql, type(step));
    expect(await claimed()).toEqual([]);
    await resumeWork(sql, everything);
    expect(await claimed()).toHaveLength(4);
  });

  it('of a type and of a tenant are removed separately', async () => {
    await addFour();
    await pause(type(step));
    await pause(tenant(acme));
    expect(await claimed()).toEqual(named([bolt, other]));
    await resumeWork(sql, type(step));
    expect(await claimed()).toEqual(named([bolt, step]));
  });

  it('does not affect queued jobs: they begin', async () => {
    const jobId = await addJob(sql, acme);
    const [job] = await claim(sql);
    await pause(everything);
    const token = newToken(jobId);
    const entryId = job?.entryId ?? '';
    const begun = await beginAttempts(sql, [{ jobId, entryId, token }], 'worker-1', 1_000);
    expect(begun).toMatchObject([{ jobId: job?.jobId }]);
  });

  it('applies to failed jobs too', async () => {
    const jobId = await addJob(sql, acme);
    await claim(sql);
    await sql`update background_jobs set state = 'running', lease_owner = 'x' where id = ${jobId}`;
    await sql`update background_jobs set state = 'failed', lease_owner = null where id = ${jobId}`;
    await pause(type(step));
    expect(await claim(sql)).toEqual([]);
  });

  it('does not stop giveUpAfter: jobs that wait too long still expire', async () => {
    const jobId = await addJob(sql, acme);
    await pause(everything);
    expect(await expireWaitingJobs(sql, { offsetMs: 2 * 86_400_000 })).toBe(1);
    expect(await jobRow(sql, jobId)).toMatchObject({
      state: 'dead_letter',
      error: { code: 'expired' },
    });
  });

  it('of 300 tenants does not delay the others', async () => {
    await sql`insert into tenants (id) select 'aa-paused-' || n from generate_series(1, 300) n`;
    await sql`
      insert into background_jobs (tenant_id, job_type, max_attempts, give_up_at)
      select id, ${step}, 3, now() + interval '1 day' from tenants where id like 'aa-paused-%'`;
    await sql`
      insert into pauses (scope, name, reason, by)
      select 'tenant', id, 'unpaid', 'alice' from tenants where id like 'aa-paused-%'`;
    const jobId = await addJob(sql, bolt);
    expect((await claim(sql)).map((job) => job.jobId)).toEqual([jobId]);
  });
});

describe('the record of a pause', () => {
  it('has operator, reason and time, and a second pause returns the one that it replaced', async () => {
    expect(await pause(type(step), 'first')).toEqual({ replaced: undefined, claimsDrained: true });
    const again = await pauseWork(sql, { ...type(step), reason: 'second', by: 'bob' });
    expect(again.replaced).toMatchObject({ reason: 'first', by: 'alice', at: expect.any(Date) });
    expect(await listPauses(sql)).toMatchObject([{ ...type(step), reason: 'second', by: 'bob' }]);
    expect(await resumeWork(sql, type(step))).toMatchObject({ reason: 'second', by: 'bob' });
    expect(await resumeWork(sql, type(step))).toBeUndefined();
  });

  it('is shown with a job that it applies to', async () => {
    await pause(tenant(acme));
    await pause(type(step));
    await pause(tenant(bolt));
    const over = await pausesOver(sql, { jobType: step, tenantId: acme });
    expect(over.map(({ name }) => name)).toEqual([acme, step]);
  });

  it('an unknown type is refused with the known types, and so is an unknown tenant', async () => {
    for (const act of [pause, (target: PauseTarget) => resumeWork(sql, target)]) {
      await expect(act(type('no_such'))).rejects.toMatchObject({
        code: 'unknown_job_type',
        message: expect.stringMatching(/"no_such".*test_other, test_step/),
      });
      await expect(act(tenant('nobody'))).rejects.toMatchObject({
        code: 'unknown_tenant',
        message: 'there is no tenant "nobody"',
      });
    }
  });

  it('is deleted with its tenant: a later tenant of the same id is not paused', async () => {
    await pause(tenant(acme));
    await sql`delete from tenants where id = ${acme}`;
    expect(await listPauses(sql)).toEqual([]);
    await sql`insert into tenants (id) values (${acme})`;
    await addJob(sql, acme);
    expect(await claim(sql)).toHaveLength(1);
  });
});

/** A claim that reads the pauses and finds no job. */
const claimNothing = (tx: Queryable) =>
  claimWaitingJobs(tx, [{ jobType: 'no_such_type', capacity: 1 }]);

describe('a pause during an open claim', () => {
  it('returns only when that claim has ended, and no later claim takes a job', async () => {
    await addFour();
    const order: string[] = [];
    let answered: Promise<unknown> | undefined;
    await database.system.begin(async (tx) => {
      // A dispatcher that has looked, found no pause, and not yet taken its jobs.
      await claimNothing(tx);
      answered = pause(everything).then((answer) => {
        order.push('paused');
        return answer;
      });
      await eventually('the pause to be stored', async () => (await listPauses(test.sql))[0]);
      // It has looked at open claims several times.
      await sleep(300);
      order.push('claim commits');
    });
    expect(await answered).toMatchObject({ claimsDrained: true });
    expect(order).toEqual(['claim commits', 'paused']);
    expect(await claimed()).toEqual([]);
  });

  it('is stored although an earlier claim does not end, and says so', async () => {
    await database.system.begin(async (tx) => {
      await claimNothing(tx);
      expect(await pause(everything)).toMatchObject({ claimsDrained: false });
      expect(await listPauses(test.sql)).toHaveLength(1);
    });
  });

  it('holds up no later claim while it waits for an earlier one', async () => {
    await database.system.begin(async (tx) => {
      await claimNothing(tx);
      const answered = pause(type(step));
      await eventually('the pause to be stored', async () => (await listPauses(test.sql))[0]);
      for (let round = 0; round < 20; round += 1) {
        await test.sql.begin(async (later) => {
          await later`set local lock_timeout = '1ms'`;
          await claimNothing(later);
        });
        await sleep(50);
      }
      expect(await Promise.race([answered, sleep(0, 'still waits')])).toBe('still waits');
    });
  });

  it('four concurrent dispatchers claim nothing after the pause returned', async () => {
    await sql`
      insert into background_jobs (tenant_id, job_type, max_attempts, give_up_at)
      select ${acme}, ${step}, 3, now() + interval '1 day' from generate_series(1, 2000)`;
    const stop = new AbortController();
    const dispatchers = Array.from({ length: 4 }, async () => {
      while (!stop.signal.aborted) await claim(sql, 5);
    });
    await eventually('some to be claimed', async () => {
      const [row] = await test.sql`select from background_jobs where state = 'queued' limit 1`;
      return row;
    });
    await pause(type(step));
    const queued = () => test.sql`
      select count(*)::int as n from background_jobs where state = 'queued'`;
    const [atPause] = await queued();
    for (let round = 0; round < 20; round += 1) await claim(test.sql, 5);
    stop.abort();
    await Promise.all(dispatchers);
    expect(await queued()).toEqual([atPause]);
  });
});
