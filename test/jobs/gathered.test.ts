/** Concurrent calls of `enqueue` share statements, and none of them can tell. */
import { Client, Pool } from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import type { Connection } from '../../src/jobs/connection.ts';
import { enqueue } from '../../src/jobs/enqueue.ts';
import type { Enqueued } from '../../src/jobs/enqueue.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import { addJobType, eventually, step } from './job-steps.ts';

let test: TestDatabase;
let pool: Sql;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  await addJobType(test.sql);
  tenantId = await addTenant(test.sql);
  pool = connect(test.url, { max: 4, applicationName: 'purser test producer' });
});
afterAll(async () => {
  await pool.end();
  await test.close();
});

/** So many calls at once, each with a payload that its job is found by. */
const calls = (connection: Connection, count: number, mark: string): Promise<Enqueued>[] =>
  Array.from({ length: count }, (_, index) =>
    enqueue(connection, { tenantId, jobType: step, payload: { mark, index } }),
  );

interface Stored {
  readonly id: string;
  readonly index: number;
  readonly transaction: string;
}

const stored = (mark: string) =>
  test.sql<Stored[]>`
    select id, (payload->>'index')::int as index, xmin::text as transaction
    from jobs where payload->>'mark' = ${mark} order by index`;

const transactionsOf = (rows: readonly Stored[]): number =>
  new Set(rows.map(({ transaction }) => transaction)).size;

it('200 concurrent calls are a few transactions, and each gets its own job', async () => {
  const answers = await Promise.all(calls(pool, 200, 'many'));
  const rows = await stored('many');
  expect(rows.map(({ id }) => id)).toEqual(answers.map(({ jobId }) => jobId));
  expect(answers.every(({ created }) => created)).toBe(true);
  expect(transactionsOf(rows)).toBeLessThan(10);
});

it('a pool of pg shares them too', async () => {
  const pgPool = new Pool({ connectionString: test.url, max: 4 });
  try {
    const answers = await Promise.all(calls(pgPool, 50, 'pg'));
    const rows = await stored('pg');
    expect(rows.map(({ id }) => id)).toEqual(answers.map(({ jobId }) => jobId));
    expect(transactionsOf(rows)).toBeLessThan(10);
  } finally {
    await pgPool.end();
  }
});

it('every option of a call is kept', async () => {
  const runAt = new Date('2031-05-06T07:08:09.123Z');
  const [first] = await Promise.all([
    enqueue(pool, {
      tenantId,
      jobType: step,
      payload: { text: '"}]\\ü' },
      runAt,
      priority: 7,
      group: 'a"b',
    }),
    ...calls(pool, 3, 'options'),
  ]);
  const [row] = await test.sql`
    select payload, priority, scheduled_for, group_name from background_jobs where id = ${first.jobId}`;
  expect(row).toEqual({
    payload: { text: '"}]\\ü' },
    priority: 7,
    scheduled_for: runAt,
    group_name: 'a"b',
  });
});

it('a request that is refused fails alone, with the error of a single call', async () => {
  const unknown = { tenantId: 'nobody', jobType: step, payload: {} };
  const single = await enqueue(test.sql, { ...unknown, dedupKey: 'alone' }).catch(
    (error: unknown) => error,
  );
  const [refused, ...others] = await Promise.allSettled([
    enqueue(pool, unknown),
    ...calls(pool, 20, 'innocent'),
  ]);
  expect(refused).toMatchObject({ status: 'rejected', reason: single });
  expect(refused).toMatchObject({ reason: { code: 'unknown_tenant' } });
  expect(others.map(({ status }) => status)).toEqual(Array(20).fill('fulfilled'));
  expect(await stored('innocent')).toHaveLength(20);
});

/** Calls in an open transaction, the last of them refused: by its own error, not as part of a failed transaction. */
async function inTransaction(connection: Connection, mark: string): Promise<void> {
  const accepted = calls(connection, 5, mark);
  const refused = enqueue(connection, { tenantId: 'nobody', jobType: step });
  const settled = await Promise.allSettled([...accepted, refused]);
  expect(settled.map(({ status }) => status)).toEqual([...Array(5).fill('fulfilled'), 'rejected']);
  expect(settled.at(-1)).toMatchObject({ reason: { code: 'unknown_tenant' } });
}

it('calls inside a transaction share nothing', async () => {
  const outside: Promise<Enqueued>[] = [];
  const rolledBack = pool.begin(async (tx) => {
    outside.push(...calls(pool, 10, 'outside'));
    await calls(tx, 1, 'inside')[0];
    const refused = enqueue(tx, { tenantId: 'nobody', jobType: step });
    const settled = await Promise.allSettled([...calls(tx, 5, 'inside'), refused]);
    expect(settled.filter(({ status }) => status === 'rejected').length).toBeGreaterThan(0);
    await refused;
  });
  await expect(rolledBack).rejects.toMatchObject({ code: 'unknown_tenant' });
  await Promise.all(outside);
  expect(await stored('inside')).toHaveLength(0);
  expect(await stored('outside')).toHaveLength(10);
});

it.each(['a client of pg', 'a pool of one connection'])(
  '%s, which can be in a transaction, shares nothing',
  async (kind) => {
    const client = new Client({ connectionString: test.url });
    const one = connect(test.url, { max: 1, applicationName: 'purser test producer of one' });
    try {
      await client.connect();
      await Promise.all([client.query('begin'), one.unsafe('begin')]);
      await inTransaction(kind === 'a client of pg' ? client : one, kind);
      await Promise.all([client.query('rollback'), one.unsafe('rollback')]);
      expect(await stored(kind)).toHaveLength(0);
    } finally {
      await Promise.all([client.end(), one.end()]);
    }
  },
);

it('calls with a dedup key keep their answers', async () => {
  const keyed = { tenantId, jobType: step, dedupKey: 'shared' };
  const answers = await Promise.all([
    enqueue(pool, keyed),
    ...calls(pool, 5, 'beside keys'),
    enqueue(pool, keyed),
  ]);
  const [first, last] = [answers[0], answers.at(-1)];
  expect(last?.jobId).toBe(first.jobId);
  expect(last?.created).toBe(!first.created);
});

it('calls of other tenants do not wait for a tenant that is locked', async () => {
  const lockedTenant = await addTenant(test.sql);
  const locker = await pool.reserve();
  await locker`begin`;
  await locker`select from tenants where id = ${lockedTenant} for update`;
  let isDone = false;
  const locked = enqueue(pool, { tenantId: lockedTenant, jobType: step }).finally(() => {
    isDone = true;
  });
  try {
    await Promise.all(calls(pool, 20, 'beside a lock'));
    await Promise.all(calls(pool, 20, 'beside a lock'));
    expect(isDone).toBe(false);
  } finally {
    await locker`rollback`;
    locker.release();
  }
  expect((await locked).created).toBe(true);
});

it('a statement whose connection is lost is not repeated: its commit may have happened', async () => {
  await test.sql.unsafe(`
    create function purser_test_wait() returns trigger language plpgsql as $$
    begin perform pg_advisory_xact_lock_shared(7001); return new; end $$;
    create trigger purser_test_wait before insert on jobs for each statement
    execute function purser_test_wait()`);
  const locker = await test.sql.reserve();
  try {
    // No lock timeout: the statement waits until its session is ended.
    await test.sql.unsafe('alter function purser.enqueue_gathered(jsonb) set lock_timeout = 0');
    await locker`select pg_advisory_lock(7001)`;
    const lost = Promise.allSettled(calls(pool, 10, 'lost'));
    await eventually('the statement waits', async () => {
      const [ended] = await test.sql`
        select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'purser test producer' and wait_event = 'advisory'
          and query like '%enqueue_gathered%'`;
      return ended;
    });
    await locker`select pg_advisory_unlock(7001)`;
    const answers = await lost;
    const rows = await stored('lost');
    expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(rows.length);
    expect(answers.map(({ status }) => status)).toContain('rejected');
  } finally {
    locker.release();
    await test.sql.unsafe('drop trigger purser_test_wait on jobs');
  }
});
