/** Attempts of one thread share its few sessions: they take turns, whatever one of them asks for at once. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Database } from '../../../src/db/database.ts';
import { tenantSql } from '../../../src/db/tenant.ts';
import type { TenantSql } from '../../../src/db/tenant.ts';
import { enqueueChild } from '../../../src/jobs/enqueue.ts';
import { addJobType } from '../../jobs/job-steps.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';

let test: TestDatabase;
let database: Database;
beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ tenantConnections: 2 });
  await addJobType(test.sql);
});
afterAll(() => test.close());

/** Names of the calls that have ended, in order. */
let ended: string[];
beforeEach(() => {
  ended = [];
});

async function attempt(signal?: AbortSignal): Promise<TenantSql> {
  const { token } = await startAttempt(test.sql, await addTenant(test.sql));
  return tenantSql(database.tenant, { token, signal });
}

const calls: Readonly<Record<string, (sql: TenantSql) => Promise<unknown>>> = {
  'ctx.sql': (sql) => sql`select 1`,
  'ctx.sql.unsafe': (sql) => sql.unsafe('select 1'),
  'ctx.sql.begin': (sql) => sql.begin((tx) => tx`select 1`),
  'ctx.enqueue': (sql) => enqueueChild(sql, { jobType: 'test_step' }),
  'a call that fails': (sql) => sql`select 1 / 0`.catch(() => {}),
};
type Call = (sql: TenantSql) => Promise<unknown>;

const start = (name: string, sql: TenantSql, call: Call, times: number): Promise<unknown>[] =>
  Array.from({ length: times }, () => call(sql).finally(() => ended.push(name)));

const countBefore = (name: string, other: string): number =>
  ended.slice(0, ended.indexOf(name)).filter((each) => each === other).length;

describe.each(Object.entries(calls))('%s', (_, call) => {
  it('of one attempt does not wait for the 200 of another', async () => {
    const [busy, other] = [await attempt(), await attempt()];
    const running = [...start('busy', busy, call, 200), ...start('other', other, call, 1)];
    await Promise.all(running);
    // What runs already; and while its own call runs, the busy attempt has the other session.
    expect(countBefore('other', 'busy')).toBeLessThan(20);
  });
});

it('attempts that all ask for many end their calls in turns', async () => {
  const names = ['a', 'b', 'c'];
  const running: Promise<unknown>[] = [];
  for (const name of names) {
    const sql = await attempt();
    running.push(...start(name, sql, (each) => each`select 1`, 30));
  }
  await Promise.all(running);
  const middle = ended.slice(30, 60);
  for (const name of names) {
    const count = middle.filter((each) => each === name).length;
    expect(count).toBeGreaterThanOrEqual(5);
    expect(count).toBeLessThanOrEqual(15);
  }
});

it('calls of one attempt are sent in the order in which they were made', async () => {
  const narrow = await test.open({ tenantConnections: 1 });
  const { token } = await startAttempt(test.sql, await addTenant(test.sql));
  const sql = tenantSql(narrow.tenant, { token });
  const made = Array.from({ length: 40 }, (_, n) => {
    const call = n % 3 === 0 ? sql.begin((tx) => tx`select ${n}::int`) : sql`select ${n}::int`;
    return call.then(() => ended.push(String(n)));
  });
  await Promise.all(made);
  expect(ended).toEqual(made.map((_, n) => String(n)));
});

/** A transaction that stays open until `release`. */
function open(sql: TenantSql) {
  let release = (): void => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  let entered = (): void => {};
  const isOpen = new Promise<void>((resolve) => (entered = resolve));
  const done = sql.begin(async (tx) => {
    await tx`select 1`;
    entered();
    await released;
  });
  return { isOpen, release, done };
}

describe('an attempt that keeps as many transactions open as it can', () => {
  it('leaves a session to others, and its next transaction begins when one has ended', async () => {
    const [greedy, other] = [await attempt(), await attempt()];
    const first = open(greedy);
    await first.isOpen;
    const second = open(greedy);
    let secondIsOpen = false;
    void second.isOpen.then(() => (secondIsOpen = true));
    await other`select 1`;
    await other.begin((tx) => tx`select 1`);
    expect(secondIsOpen).toBe(false);
    first.release();
    await second.isOpen;
    second.release();
    await Promise.all([first.done, second.done]);
  });

  it('can still run statements outside of them, also ones asked for after the waiting transaction', async () => {
    const greedy = await attempt();
    const first = open(greedy);
    await first.isOpen;
    const second = open(greedy);
    expect(await greedy`select 1 as one`).toEqual([{ one: 1 }]);
    first.release();
    await second.isOpen;
    second.release();
    await Promise.all([first.done, second.done]);
  });

  it('gives its place back when a transaction fails or loses its session', async () => {
    const greedy = await attempt();
    const failing = [
      greedy.begin((tx) => tx`select 1 / 0`),
      greedy.begin((tx) => tx`select pg_terminate_backend(pg_backend_pid())`),
      greedy.begin(() => Promise.reject(new Error('no'))),
    ];
    const outcomes = await Promise.allSettled(failing);
    expect(outcomes.map(({ status }) => status)).toEqual(failing.map(() => 'rejected'));
    expect(await greedy.begin((tx) => tx`select 1 as one`)).toEqual([{ one: 1 }]);
  });
});

it('calls that wait when their attempt is aborted take no session any more', async () => {
  const controller = new AbortController();
  const [aborted, other] = [await attempt(controller.signal), await attempt()];
  const blocker = open(other);
  await blocker.isOpen;
  const reached: number[] = [];
  const waiting = Array.from({ length: 20 }, (_, n) =>
    aborted.begin(async (tx) => {
      reached.push(n);
      await tx`select pg_sleep(0.05)`;
    }),
  );
  controller.abort(new Error('too late'));
  const outcomes = await Promise.allSettled(waiting);
  blocker.release();
  await blocker.done;
  expect(reached.length).toBeLessThanOrEqual(1);
  expect(outcomes.at(-1)).toMatchObject({ reason: { message: 'too late' } });
});
