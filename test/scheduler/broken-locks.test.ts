/** The attempt whose own lock the sweep had to break pays for it; others that lose a session at that time do not. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Sql } from '../../src/db/connect.ts';
import type { Database } from '../../src/db/database.ts';
import { terminateBlockingSessions } from '../../src/db/session-limits.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import type { TenantSql } from '../../src/db/tenant.ts';
import { defineHandler } from '../../src/handlers/define.ts';
import { enqueue } from '../../src/jobs/enqueue.ts';
import { addJobType, eventually, runningJob } from '../jobs/job-steps.ts';
import { addTenant } from '../support/tenants.ts';
import { levels, openLevel } from '../tenancy/level-database.ts';
import type { LevelDatabase } from '../tenancy/level-database.ts';
import { openFleet } from '../worker/fleet.ts';
import type { Fleet } from '../worker/fleet.ts';

let fleet: Fleet;
let sql: Sql;
let database: Database;
let tenantId: string;

beforeAll(async () => {
  fleet = await openFleet(undefined);
  ({ sql } = fleet.test);
  database = await fleet.test.open({ level: 'L3', tenantConnections: 4 });
  await addJobType(sql, 'test_step', { timeoutMs: 60_000 });
});
beforeEach(async () => {
  await sql`delete from tenants`;
  tenantId = await addTenant(sql, { plan: 'pro' });
});
afterAll(() => fleet.close());

const attempt = async (): Promise<TenantSql> => {
  const { token } = await runningJob(sql, await addTenant(sql));
  return tenantSql(database.tenant, { token });
};

/** Runs `text` and stays in the transaction until its session ends. */
async function hold(tenant: TenantSql, text: string) {
  let held = (): void => {};
  const holding = new Promise<void>((resolve) => (held = resolve));
  const ended = tenant
    .begin(async (tx) => {
      await tx.unsafe(text);
      held();
      await new Promise(() => {});
    })
    .catch((error: unknown) => error);
  await Promise.race([holding, ended]);
  return { ended };
}

const broken = (lock: RegExp) => ({
  code: 'lock_broken',
  message: expect.stringMatching(lock),
  details: { class: 'retry' },
});

it('a job that locks a table each time ends as a dead letter after its attempts, with the reason', async () => {
  const handler = defineHandler({
    type: 'locks_a_table',
    timeoutMs: 60_000,
    maxAttempts: 2,
    payload: z.object({}),
    run: ({ sql: tenant }) =>
      tenant.begin(async (tx) => {
        await tx`lock table cost_records in access exclusive mode`;
        await tx`select pg_sleep(60)`;
      }),
  });
  const { tenantAccess } = database;
  const worker = await fleet.startWorker([handler], {}, { tenantAccess });
  const { jobId } = await enqueue(sql, { tenantId, jobType: 'locks_a_table' });
  const row = await eventually('the job to end', async () => {
    await terminateBlockingSessions(sql, 60_000);
    const [job] = await sql`select state, attempt, error from background_jobs where id = ${jobId}`;
    return job?.['state'] === 'dead_letter' ? job : undefined;
  });
  expect(row).toMatchObject({ attempt: 2, error: { code: 'lock_broken' } });
  expect(row?.['error'].message).toMatch(/cost_records \(AccessExclusiveLock\).*for update/);
  await worker.stop();
});

describe.each(levels)('at level %s', (level) => {
  let own: LevelDatabase;
  let tenant: TenantSql;
  beforeAll(async () => {
    own = await openLevel(level, 4);
    await addJobType(own.database.system);
  });
  beforeEach(async () => {
    const { system } = own.database;
    const { token } = await runningJob(system, await addTenant(system));
    tenant = tenantSql(own.database.tenant, { token });
  });
  afterAll(() => own.close());

  it('a transaction that locked a whole table is told so', async () => {
    const { ended } = await hold(tenant, 'lock table cost_records');
    expect(await terminateBlockingSessions(own.database.system, 60_000)).toBe(1);
    expect(await ended).toMatchObject(broken(/cost_records \(AccessExclusiveLock\)/));
  });

  it('a transaction that the fleet waited for is told which lock', async () => {
    const { system } = own.database;
    const { ended } = await hold(
      tenant,
      `select pg_advisory_xact_lock(7), count(*) from cost_records`,
    );
    const waiting = system.begin((tx) => tx`select pg_advisory_xact_lock(7)`);
    await eventually('the session to be ended', async () =>
      (await terminateBlockingSessions(system, 50)) > 0 ? true : undefined,
    );
    await waiting;
    expect(await ended).toMatchObject(broken(/an advisory lock/));
  });

  it('the loss of a session for another reason costs no attempt', async () => {
    const { ended } = await hold(tenant, `set local application_name = 'innocent'; select 1`);
    await own.database.system`
      select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'innocent'`;
    expect(await ended).toMatchObject({
      code: 'database_unavailable',
      details: { class: 'snooze' },
    });
  });
});

describe('costs no attempt', () => {
  it('the loss of a session for another reason at the same time', async () => {
    const [guilty, innocent] = [await attempt(), await attempt()];
    const [locked, lost] = [
      await hold(guilty, 'lock table cost_records'),
      await hold(innocent, `set local application_name = 'innocent'; select 1`),
    ];
    expect(await terminateBlockingSessions(sql, 60_000)).toBe(1);
    await sql`
      select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'innocent'`;
    expect(await locked?.ended).toMatchObject({ code: 'lock_broken' });
    expect(await lost?.ended).toMatchObject({
      code: 'database_unavailable',
      details: { class: 'snooze' },
    });
  });

  it('what the next transaction of the same server process loses', async () => {
    const tenant = await attempt();
    const pidOf = `set local application_name = 'same'; select pg_backend_pid()`;
    const first = await hold(tenant, pidOf);
    await sql`
      insert into purser.broken_locks (pid, xact_start, lock)
      select pid, xact_start - interval '1 second', 'rows' from pg_stat_activity where application_name = 'same'`;
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'same'`;
    expect(await first.ended).toMatchObject({ code: 'database_unavailable' });
  });

  it('a lock that a transaction waited for, where another one made the fleet wait', async () => {
    const [holder, between] = [await attempt(), await attempt()];
    await hold(holder, `set local application_name = 'holder'; select pg_advisory_xact_lock(1)`);
    const lost = between
      .begin((tx) => tx.unsafe('select pg_advisory_xact_lock(2); select pg_advisory_xact_lock(1)'))
      .catch((error: unknown) => error);
    await eventually('it to wait', async () => {
      const found = await sql`select from pg_stat_activity where wait_event = 'advisory'`;
      return found.length === 1 ? true : undefined;
    });
    const waiting = sql.begin((tx) => tx`select pg_advisory_xact_lock(2)`);
    await eventually('the session to be ended', async () =>
      (await terminateBlockingSessions(sql, 50)) > 0 ? true : undefined,
    );
    await waiting;
    expect(await lost).toMatchObject({ code: 'database_unavailable' });
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'holder'`;
  });
});
