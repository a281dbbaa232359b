/**
 * `ctx.sql.begin` resolves exactly when its rows are committed: for statements that the handler leaves running, for
 * statements that end the transaction, and for streams and cursors that it leaves open.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Tx } from '../../src/db/connect.ts';
import type { Database } from '../../src/db/database.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import type { TenantSql } from '../../src/db/tenant.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

let test: TestDatabase;
let database: Database;
let tenantId: string;
let sql: TenantSql;
let next: TenantSql;
// A transaction that hangs keeps the only session, so the next test gets another pool.
vi.setConfig({ testTimeout: 8_000 });
let hung = true;
beforeAll(async () => {
  test = await freshDatabase();
});
beforeEach(async ({ task, onTestFinished }) => {
  if (hung) database = await test.open({ level: 'L3', tenantConnections: 1 });
  hung = false;
  onTestFinished(() => {
    hung = task.result?.state === 'fail';
  });
  tenantId = await addTenant(test.sql);
  sql = tenantSql(database.tenant, { token: (await startAttempt(test.sql, tenantId)).token });
  const other = await addTenant(test.sql);
  next = tenantSql(database.tenant, { token: (await startAttempt(test.sql, other)).token });
});
afterAll(() => test.close());

/** Inserts a row, runs `body`, and compares the result of `begin` with what the database has afterwards. */
async function outcomeOf(body: (tx: Tx) => unknown) {
  const accountId = randomUUID();
  const error: unknown = await sql
    .begin(async (tx) => {
      await tx`
        insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
        values (${tenantId}, ${accountId}, 'sealed', 1)`;
      await body(tx);
    })
    .then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
  // Until a statement that was left behind has run or was refused.
  await sleep(150);
  const rows = await test.sql`select from aws_accounts where account_id = ${accountId}`;
  expect(await next`select 1 as one`).toEqual([{ one: 1 }]);
  return { error, committed: rows.length === 1 };
}

const ignore = () => {};

describe('a statement that the handler leaves running', () => {
  it('and that fails between the fence and COMMIT fails the transaction', async () => {
    const { error, committed } = await outcomeOf((tx) => {
      void tx`select pg_sleep(0.05)`.then(() => tx`select 1 / 0`).catch(ignore);
    });
    expect(error).toBeInstanceOf(Error);
    expect(committed).toBe(false);
  });

  it('and that fails before the fence fails the transaction with its error', async () => {
    const outcome = await outcomeOf((tx) => {
      void tx`select 1 / 0`.execute();
    });
    expect(outcome).toMatchObject({ error: { code: '22012' }, committed: false });
  });

  it('and that succeeds before the fence is part of the transaction', async () => {
    let ran = false;
    const outcome = await outcomeOf((tx) => {
      void tx`select pg_sleep(0.05)`.then(() => (ran = true));
    });
    expect(outcome).toEqual({ error: undefined, committed: true });
    expect(ran).toBe(true);
  });

  it('and that follows it after its return fails the transaction, which would lack it', async () => {
    const outcome = await outcomeOf((tx) => {
      // When the fence was sent and not yet answered.
      void tx`select 1`
        .then(() => new Promise((resolve) => setImmediate(resolve)))
        .then(() => tx`select 2`)
        .catch(ignore);
    });
    expect(outcome).toMatchObject({ error: { code: 'statement_not_awaited' }, committed: false });
  });

  it('and that was made but not sent by then is refused, and fails the transaction', async () => {
    let late: Promise<unknown> | undefined;
    const outcome = await outcomeOf((tx) => {
      const made = tx`select 1`;
      late = sleep(100).then(() => made.execute());
      late.catch(ignore);
    });
    expect(outcome).toMatchObject({ error: { code: 'statement_not_awaited' }, committed: false });
    await expect(late).rejects.toMatchObject({ code: 'transaction_ended' });
  });
});

describe('a statement that ends the transaction', () => {
  it.each([
    ['rollback', 'rollback'],
    ['rollback, then begin', 'rollback; begin'],
    ['commit, then begin', 'commit; begin'],
    ['commit, then begin with an id', 'commit; begin; select pg_current_xact_id()'],
    ['commit and chain', 'commit and chain'],
    ['behind a comment', '/* a */ -- b\n rollback; begin; select pg_current_xact_id()'],
  ])('%s: is never reported as a commit of what came after it', async (_, text) => {
    const accountId = randomUUID();
    const work = sql.begin(async (tx) => {
      await tx.unsafe(text);
      await tx`
        insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
        values (${tenantId}, ${accountId}, 'sealed', 1)`;
    });
    await expect(work).rejects.toMatchObject({ code: 'transaction_ended' });
    expect(await test.sql`select from aws_accounts where account_id = ${accountId}`).toEqual([]);
    expect(await next`select 1 as one`).toEqual([{ one: 1 }]);
  });

  it('hidden from the text, with the context carried over, is found at the fence', async () => {
    const work = sql.begin(async (tx) => {
      await tx.unsafe(`
        do $$ begin perform set_config('my.token', current_setting('purser.token'), false); end $$;
        /* ; */ commit /* ; */; begin; select set_config('purser.token', current_setting('my.token'), true)`);
      return 'done';
    });
    await expect(work).rejects.toMatchObject({ code: 'transaction_ended' });
  });

  it('is not a rollback to a savepoint, by a function or in SQL', async () => {
    const outcome = await outcomeOf(async (tx) => {
      await tx.savepoint((inner) => inner`select 1 / 0`).catch(ignore);
      await tx.unsafe('savepoint mine');
      await tx`select 1 / 0`.catch(ignore);
      await tx.unsafe('rollback to mine');
      await Promise.all([tx.unsafe('release mine'), tx`select 1`]);
    });
    // The error of a statement outside a savepoint function fails the transaction.
    expect(outcome).toMatchObject({ error: { code: '22012' }, committed: false });
    const savepoint = await outcomeOf(async (tx) => {
      await tx.savepoint('named', (inner) => inner`select 1 / 0`).catch(ignore);
      await tx.savepoint((inner) => inner.savepoint((most) => most`select 1`));
      await tx.unsafe('savepoint mine; select 1; rollback to mine');
    });
    expect(savepoint).toEqual({ error: undefined, committed: true });
  });
});

describe('what the handler leaves open', () => {
  it.each([
    [
      'a COPY to the server',
      async (tx: Tx) => {
        await tx.unsafe('create temp table staged (line text) on commit drop');
        const copy = await tx`copy staged from stdin`.writable();
        copy.on('error', ignore);
        copy.write('a line\n');
      },
    ],
    [
      'a COPY from the server',
      (tx: Tx) =>
        tx`copy (select repeat('x', 999) from generate_series(1, 99999)) to stdout`.readable(),
    ],
    [
      'a COPY from the server that is left in the middle',
      async (tx: Tx) => {
        const rows = tx`copy (select repeat('x', 999) from generate_series(1, 99999)) to stdout`;
        for await (const _ of await rows.readable()) break;
      },
    ],
    [
      'a cursor whose function does not end',
      (tx: Tx) => {
        void tx`select generate_series(1, 10)`
          .cursor(1, () => new Promise<void>(ignore) as never)
          .catch(ignore);
      },
    ],
  ])('%s: fails the transaction, and the pool goes on', async (_, leave) => {
    const outcome = await outcomeOf(leave);
    expect(outcome).toMatchObject({ error: { code: 'statement_left_open' }, committed: false });
  });

  it('a cursor that is read in part is closed, and the transaction commits', async () => {
    const outcome = await outcomeOf(async (tx) => {
      for await (const _ of tx`select generate_series(1, 10)`.cursor(2)) break;
      for await (const _ of tx`select generate_series(1, 10)`.cursor(3)) await sleep(1);
      const rows = tx`select generate_series(1, 10)`.cursor(2)[Symbol.asyncIterator]();
      await rows.next();
    });
    expect(outcome).toEqual({ error: undefined, committed: true });
  });

  it('a COPY whose last bytes fail rejects, although nobody waits for it', async () => {
    const outcome = await outcomeOf(async (tx) => {
      await tx.unsafe('create temp table staged (id int primary key) on commit drop');
      const copy = await tx`copy staged from stdin`.writable();
      copy.on('error', ignore);
      copy.end('1\n1\n');
    });
    expect(outcome).toMatchObject({ error: { code: '23505' }, committed: false });
  });

  it('a notification is sent by COMMIT and not before', async () => {
    const heard: string[] = [];
    const listening = await test.sql.listen('truth', (payload) => heard.push(payload));
    const failed = sql.begin(async (tx) => {
      await tx.notify('truth', 'rolled back');
      throw new Error('changed my mind');
    });
    await expect(failed).rejects.toThrow('changed my mind');
    await sql.begin((tx) => tx.notify('truth', 'committed'));
    await expect.poll(() => heard).toEqual(['committed']);
    await listening.unlisten();
  });
});

it('a statement that is cancelled takes its session with it: the request could reach the next one', async () => {
  const pidOf = async () => (await next`select pg_backend_pid() as pid`)[0]?.['pid'];
  const before = await pidOf();
  const cancelled = sql.begin(async (tx) => {
    const sleeping = tx`select pg_sleep(60)`.execute();
    await sleep(50);
    sleeping.cancel();
    await sleeping;
  });
  await expect(cancelled).rejects.toMatchObject({ code: '57014' });
  expect(await pidOf()).not.toBe(before);
});
