import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import type { Database } from '../../src/db/database.ts';
import { terminateStuckSessions, terminateSessions } from '../../src/db/tenant-pool.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import { defineHandler } from '../../src/handlers/define.ts';
import { enqueue } from '../../src/jobs/enqueue.ts';
import { addJobType, completed, eventually, runningJob } from '../jobs/job-steps.ts';
import { createBatches } from '../../src/worker/batches/attempt-batches.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { addTenant } from '../support/tenants.ts';
import { openFleet } from '../worker/fleet.ts';

let test: TestDatabase;
let database: Database;
beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ level: 'L3', tenantConnections: 2 });
  await addJobType(test.sql);
});
afterAll(() => test.close());

const asleep = (times: number) =>
  eventually('the sessions to sleep', async () => {
    const found = await test.sql`
      select from pg_stat_activity where application_name = 'nobody' and wait_event = 'PgSleep'`;
    return found.length === times ? true : undefined;
  });

it.each(['purser.commit_fence()', `purser.complete_attempt('{}')`])(
  'a session that holds its token by %s, without timeouts and under another name, is terminated and its attempt ends',
  async (hold) => {
    const { jobId, token } = await runningJob(test.sql, await addTenant(test.sql));
    const sleep = (what: string) =>
      tenantSql(database.tenant, { token })
        .unsafe(
          `set application_name = 'nobody'; set statement_timeout = 0;
           set client_connection_check_interval = 0; select ${what}, pg_sleep(600)`,
        )
        .catch((error: unknown) => error);
    const harmless = sleep('1');
    await asleep(1);
    const held = sleep(hold);
    await asleep(2);
    expect(await terminateSessions(test.sql, 'purser test role tenant')).toBe(0);
    expect(await terminateStuckSessions(test.sql, 600_000)).toBe(0);
    const batches = createBatches({
      sql: test.sql,
      workerId: 'worker-1',
      leaseMs: 30_000,
      log: silentLog,
    });
    const finished = batches.finish({ jobId, token, end: completed });
    expect(await terminateStuckSessions(test.sql, 0)).toBe(1);
    // Depends on whether its end was applied before it asked why.
    expect(await held).toMatchObject({
      code: expect.stringMatching(/^(lock_broken|database_unavailable)$/),
    });
    expect(await finished).toBe('applied');
    await terminateSessions(test.sql, 'nobody');
    await harmless;
  },
);

/** Runs `what` in the attempt's transaction; resolves to its error. */
const runHeld = (token: string, what: string) =>
  tenantSql(database.tenant, { token })
    .begin((tx) =>
      tx.unsafe(
        `set local application_name = 'nobody'; set local statement_timeout = 0; ${what}, pg_sleep(600)`,
      ),
    )
    .catch((error: unknown) => error);

it('an attempt that held its token is told so, and it counts', async () => {
  const { token } = await runningJob(test.sql, await addTenant(test.sql));
  const held = runHeld(token, 'select purser.commit_fence()');
  await asleep(1);
  expect(await terminateStuckSessions(test.sql, 0)).toBe(1);
  expect(await held).toMatchObject({
    code: 'lock_broken',
    message: expect.stringContaining('the token of its attempt'),
    details: { class: 'retry' },
  });
});

it('an attempt whose session only waits for its token, which another session holds, pays nothing', async () => {
  const { token } = await runningJob(test.sql, await addTenant(test.sql));
  let waiting: Promise<unknown> | undefined;
  await test.sql.begin(async (tx) => {
    await tx`select from purser.in_flight where token = ${token} for update`;
    waiting = runHeld(token, 'select purser.commit_fence()');
    await eventually('the session to wait', async () => {
      const found = await test.sql`
        select from pg_stat_activity where application_name = 'nobody' and wait_event_type = 'Lock'`;
      return found.length === 1 ? true : undefined;
    });
    expect(await terminateStuckSessions(test.sql, 0)).toBe(1);
  });
  expect(await waiting).toMatchObject({
    code: 'database_unavailable',
    details: { class: 'snooze' },
  });
});

it('an attempt whose commit takes long pays nothing', async () => {
  const { token } = await runningJob(test.sql, await addTenant(test.sql));
  const committing = tenantSql(database.tenant, { token })
    .begin(async (tx) => {
      // Runs at the commit, after the fence, as a wait for a standby does.
      await tx.unsafe(`
        set local application_name = 'nobody';
        create temp table late (id int);
        create function pg_temp.wait() returns trigger language plpgsql as
          $$ begin perform pg_sleep(600); return null; end $$;
        create constraint trigger late after insert on late initially deferred
          for each row execute function pg_temp.wait();
        insert into late values (1)`);
    })
    .catch((error: unknown) => error);
  await asleep(1);
  expect(await terminateStuckSessions(test.sql, 0)).toBe(1);
  expect(await committing).not.toMatchObject({ code: 'lock_broken' });
});

it('a job that holds its token each time ends as a dead letter after its attempts', async () => {
  const fleet = await openFleet(undefined);
  const own = await fleet.test.open({ level: 'L3', tenantConnections: 2 });
  const handler = defineHandler({
    type: 'holds_its_token',
    timeoutMs: 60_000,
    maxAttempts: 2,
    payload: z.object({}),
    run: ({ sql }) => sql`select purser.commit_fence(), pg_sleep(60)`,
  });
  const worker = await fleet.startWorker([handler], {}, { tenantAccess: own.tenantAccess });
  const tenantId = await addTenant(fleet.test.sql);
  const { jobId } = await enqueue(fleet.test.sql, { tenantId, jobType: 'holds_its_token' });
  const row = await eventually('the job to end', async () => {
    await terminateStuckSessions(fleet.test.sql, 300);
    const [job] = await fleet.test.sql`
      select state, attempt, error from background_jobs where id = ${jobId}`;
    return job?.['state'] === 'dead_letter' ? job : undefined;
  });
  expect(row).toMatchObject({ attempt: 2, error: { code: 'lock_broken' } });
  await worker.stop();
  await fleet.close();
});
