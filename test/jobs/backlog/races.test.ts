/** The limit of a backlog holds for transactions that race, and none of them waits for another one that is open. */
import { Pool } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import type { Connection } from '../../../src/jobs/connection.ts';
import { enqueue, enqueueMany } from '../../../src/jobs/enqueue.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { addJobType, eventually, step } from '../job-steps.ts';
import { jobsOf, leftovers, limitedTenant, taken } from './backlog-tenant.ts';

let test: TestDatabase;
/** One connection each: their calls are not gathered. */
let sessions: Sql[];
let gathering: Sql;

beforeAll(async () => {
  test = await freshDatabase();
  await addJobType(test.sql);
  const open = (max: number) => connect(test.url, { max, applicationName: 'purser test racer' });
  sessions = Array.from({ length: 10 }, () => open(1));
  gathering = open(4);
});
afterAll(async () => {
  await Promise.all([...sessions, gathering].map((sql) => sql.end()));
  await test.close();
});

const sessionOf = (index: number): Sql => {
  const session = sessions[index % sessions.length];
  if (session === undefined) throw new Error('no session');
  return session;
};
const add = (connection: Connection, tenantId: string, more: object = {}) =>
  enqueue(connection, { tenantId, jobType: step, ...more });
const full = { code: 'backlog_full' };

it.each(['one by one', 'gathered', 'by a pool of pg'])(
  'of 50 concurrent enqueues with room for 10, exactly 10 are taken: %s',
  async (how) => {
    const pool = new Pool({ connectionString: test.url, max: 4 });
    const shared = how === 'gathered' ? gathering : pool;
    const tenantId = await limitedTenant(test.sql, { jobs: 12 });
    await add(test.sql, tenantId);
    await add(test.sql, tenantId);
    const calls = Array.from({ length: 50 }, (_, n) =>
      add(how === 'one by one' ? sessionOf(n) : shared, tenantId),
    );
    const ids = await taken(calls);
    await pool.end();
    expect(ids).toHaveLength(10);
    expect(await jobsOf(test.sql, tenantId)).toBe(12);
    expect(await leftovers(test.sql, tenantId)).toBe(0);
  },
);

it('concurrent enqueueMany: each is taken as a whole or not at all', async () => {
  const tenantId = await limitedTenant(test.sql, { jobs: 12 });
  const five = Array.from({ length: 5 }, () => ({ tenantId, jobType: step }));
  const calls = Array.from({ length: 8 }, (_, n) => enqueueMany(sessionOf(n), five));
  const ends = await Promise.allSettled(calls);
  expect(ends.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
  expect(await jobsOf(test.sql, tenantId)).toBe(10);
});

it('by bytes too: 20 transactions of two jobs each never pass the limit', async () => {
  const payload = { text: 'x'.repeat(8) };
  const tenantId = await limitedTenant(test.sql, { bytes: 110 });
  await Promise.allSettled(
    Array.from({ length: 20 }, (_, n) =>
      sessionOf(n).begin(async (tx) => {
        await add(tx, tenantId, { payload });
        await add(tx, tenantId, { payload });
      }),
    ),
  );
  expect(await jobsOf(test.sql, tenantId)).toBe(4);
});

describe('beside a transaction that is open', () => {
  /** Runs `meanwhile` while a transaction holds `count` jobs that are not committed. */
  async function whileOpen(
    tenantId: string,
    count: number,
    meanwhile: () => Promise<void>,
    end: 'commit' | 'roll back' = 'commit',
  ): Promise<void> {
    await sessionOf(0).begin(async (tx) => {
      for (let n = 0; n < count; n += 1) await add(tx, tenantId);
      await meanwhile();
      if (end === 'roll back') throw new Error('rolled back');
    });
  }

  it('an enqueue does not wait, and the one that commits last is refused', async () => {
    const tenantId = await limitedTenant(test.sql, { jobs: 2 });
    const open = whileOpen(tenantId, 2, async () => {
      await add(sessionOf(1), tenantId);
    });
    await expect(open).rejects.toMatchObject({
      code: 'PU012',
      message: expect.stringContaining('has 1 jobs that have not begun; 2 more'),
    });
    expect(await jobsOf(test.sql, tenantId)).toBe(1);
    expect(await leftovers(test.sql, tenantId)).toBe(0);
  });

  it('that rolls back, its room is free', async () => {
    const tenantId = await limitedTenant(test.sql, { jobs: 2 });
    await expect(whileOpen(tenantId, 2, async () => {}, 'roll back')).rejects.toThrow(
      'rolled back',
    );
    await add(test.sql, tenantId);
    await add(test.sql, tenantId);
    await expect(add(test.sql, tenantId)).rejects.toMatchObject(full);
  });

  it('whose session is killed, its room is free', async () => {
    const tenantId = await limitedTenant(test.sql, { jobs: 1 });
    const doomed = connect(test.url, { max: 1, applicationName: 'purser test doomed' });
    const open = doomed.begin(async (tx) => {
      await add(tx, tenantId);
      const [row] = await tx<{ pid: number }[]>`select pg_backend_pid() as pid`;
      await test.sql`select pg_terminate_backend(${row?.pid ?? 0})`;
      await tx`select 1`;
    });
    await expect(open).rejects.toMatchObject({ code: expect.any(String) });
    await doomed.end();
    await eventually('the room', async () => (await add(test.sql, tenantId)).jobId);
  });

  it('all jobs of a savepoint that was rolled back are forgotten', async () => {
    const tenantId = await limitedTenant(test.sql, { jobs: 1 });
    await sessionOf(0).begin(async (tx) => {
      await tx
        .savepoint(async (inner) => {
          await add(inner, tenantId);
          throw new Error('given up');
        })
        .catch(() => {});
      await add(sessionOf(1), tenantId);
    });
    expect(await jobsOf(test.sql, tenantId)).toBe(1);
  });

  const early = (session: Sql, tenantId: string) =>
    session.begin(async (tx) => {
      await tx`set constraints all immediate`;
      return add(tx, tenantId);
    });
  const ways = [
    { way: 'at its commit', enqueueBy: add },
    { way: 'in a session that checks at once', enqueueBy: early },
  ];
  it.each(ways)('that is about to commit, an enqueue waits for the outcome: $way', async (way) => {
    const tenantId = await limitedTenant(test.sql, { jobs: 2 });
    await add(test.sql, tenantId);
    let second: Promise<unknown> = Promise.resolve();
    await sessionOf(0).begin(async (tx) => {
      await tx`set constraints all immediate`;
      await add(tx, tenantId);
      second = taken([way.enqueueBy(sessionOf(1), tenantId)]);
      await eventually('the wait', async () => {
        const waiting = await test.sql`
          select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
        return waiting.length > 0 ? true : undefined;
      });
    });
    expect(await second).toEqual([]);
    expect(await jobsOf(test.sql, tenantId)).toBe(2);
  });

  it('a snapshot that is older than a commit fails as all such transactions do, and takes nothing', async () => {
    const tenantId = await limitedTenant(test.sql, { jobs: 2 });
    await add(test.sql, tenantId);
    const open = sessionOf(0).begin('isolation level repeatable read', async (tx) => {
      await tx`select count(*) from tenants`;
      await add(sessionOf(1), tenantId);
      await add(tx, tenantId);
    });
    await expect(open).rejects.toMatchObject({ code: '40001' });
    expect(await jobsOf(test.sql, tenantId)).toBe(2);
  });

  it('without a limit nothing is checked', async () => {
    const tenantId = await addTenant(test.sql);
    await whileOpen(tenantId, 2, async () => {
      await add(sessionOf(1), tenantId);
    });
    const rows = await test.sql`select from purser.backlog_gates where tenant_id = ${tenantId}`;
    expect(rows).toHaveLength(0);
    expect(await jobsOf(test.sql, tenantId)).toBe(3);
  });
});

it('transactions for the same two tenants in different order do not lock each other out', async () => {
  const one = await limitedTenant(test.sql, { jobs: 1_000 });
  const two = await limitedTenant(test.sql, { jobs: 1_000 });
  await Promise.all(
    Array.from({ length: 40 }, (_, n) =>
      sessionOf(n).begin(async (tx) => {
        for (const tenantId of n % 2 === 0 ? [one, two] : [two, one]) await add(tx, tenantId);
      }),
    ),
  );
  expect(await jobsOf(test.sql, one)).toBe(40);
  expect(await jobsOf(test.sql, two)).toBe(40);
});
