/**
 * What the function of `ctx.sql.begin` leaves behind or issues in the wrong place fails the transaction: a statement
 * that is never sent, a savepoint that is still open, a write that another savepoint would undo, a statement that would
 * wait for a cursor without end.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Tx } from '../../src/db/connect.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import type { TenantSql } from '../../src/db/tenant.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

let test: TestDatabase;
let tenantId: string;
let sql: TenantSql;
beforeAll(async () => {
  test = await freshDatabase();
});
beforeEach(async () => {
  // A pool for each test: one whose transaction hangs keeps the only session.
  const database = await test.open({ level: 'L3', tenantConnections: 1 });
  tenantId = await addTenant(test.sql);
  sql = tenantSql(database.tenant, { token: (await startAttempt(test.sql, tenantId)).token });
});
afterAll(() => test.close());

const insert = (tx: Tx, name: string) => tx`
  insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
  values (${tenantId}, ${name}, 'sealed', 1)`;

/** The code of the error, and the names of the rows that were committed. */
async function outcomeOf(body: (tx: Tx) => unknown) {
  const code: unknown = await sql
    .begin(async (tx) => body(tx))
    .then(
      () => undefined,
      (thrown: { code?: unknown }) => thrown.code,
    );
  const rows = await test.sql<{ account_id: string }[]>`
    select account_id from aws_accounts where tenant_id = ${tenantId} order by account_id`;
  return { code, rows: rows.map(({ account_id }) => account_id) };
}

const failed = (code: string) => ({ code, rows: [] });
const committed = (...rows: string[]) => ({ code: undefined, rows });
const caught = (promise: Promise<unknown>) =>
  promise.catch((error: { code: unknown }) => error.code);

describe('a statement that is made and never sent', () => {
  it.each<[string, (tx: Tx) => unknown]>([
    ['beside others', async (tx) => [void insert(tx, 'a'), await insert(tx, 'b')]],
    ['as a text', (tx) => void tx.unsafe('insert into aws_accounts default values')],
    ['after a comment', (tx) => void tx`-- the note\n /* and */ (select 1)`],
    ['of a file', (tx) => void tx.file('/nowhere.sql')],
    ['as a cursor', (tx) => void tx`select 1`.cursor(10)],
    ['in a savepoint', (tx) => tx.savepoint(async (inner) => void insert(inner, 'c'))],
    [
      'of an outer transaction in a savepoint',
      (tx) => tx.savepoint(async () => void insert(tx, 'd')),
    ],
  ])('%s fails the transaction', async (_, body) => {
    expect(await outcomeOf(body)).toEqual(failed('statement_not_awaited'));
  });

  it('is named by its error', async () => {
    const begun = sql.begin(async (tx) => void insert(tx, 'x'));
    await expect(begun).rejects.toThrow(
      'a statement was made and never sent: insert into aws_accounts (tenant_id, account_id,',
    );
  });

  it('and whose result completes the job fails too', async () => {
    const one = () => sql.begin(async (tx) => ({ rows: insert(tx, 'x') }), { complete: true });
    await expect(one()).rejects.toMatchObject({ code: 'statement_not_awaited' });
  });

  it('is none where it is a part of another one, or no statement at all', async () => {
    const outcome = await outcomeOf(async (tx) => {
      const [used, unused] = [tx`where account_id = 'a'`, tx`order by 1`];
      const counted = tx`select count(*) from aws_accounts`;
      await tx`select (${counted}) from aws_accounts ${used}`;
      await insert(tx, 'a');
      return [unused].length;
    });
    expect(outcome).toEqual(committed('a'));
  });

  it('is sent where the function returns a list of them, as with the driver', async () => {
    expect(await outcomeOf((tx) => [insert(tx, 'a'), insert(tx, 'b')])).toEqual(
      committed('a', 'b'),
    );
    const inner = (tx: Tx) =>
      tx.savepoint(async (scope) => [insert(scope, 'c'), insert(scope, 'a')]);
    expect((await outcomeOf(inner)).code).toBe('23505');
    const lists = await sql.begin(async (tx) => [tx`select 1 as one`, tx`select 2 as two`]);
    expect(lists).toEqual([[{ one: 1 }], [{ two: 2 }]]);
  });
});

describe('savepoints', () => {
  it('beside each other, and statements beside one, are refused: they would be undone with it', async () => {
    const codes: unknown[] = [];
    const outcome = await outcomeOf(async (tx) => {
      const first = tx.savepoint(async (inner) => {
        await insert(inner, 'a');
        await sleep(50);
        throw new Error('undone');
      });
      codes.push(await caught(tx.savepoint(async (inner) => insert(inner, 'b'))));
      await first.catch(() => {});
      await tx.savepoint(async (inner) => insert(inner, 'c'));
    });
    expect(codes).toEqual(['savepoint_open']);
    expect(outcome).toEqual(committed('c'));
  });

  it('fail the transaction with a statement that was issued outside of them', async () => {
    const besides = await outcomeOf(async (tx) => {
      const open = tx.savepoint(async (inner) => {
        await sleep(50);
        await insert(inner, 'a');
      });
      await caught(insert(tx, 'b'));
      await open;
    });
    expect(besides).toEqual(failed('savepoint_open'));
    const within = await outcomeOf((tx) => tx.savepoint(async () => insert(tx, 'a')));
    expect(within).toEqual(failed('savepoint_open'));
    const nested = await outcomeOf((tx) =>
      tx.savepoint((outer) => outer.savepoint(async () => insert(outer, 'a'))),
    );
    expect(nested).toEqual(failed('savepoint_open'));
  });

  it('that are still open at the end fail the transaction', async () => {
    const outcome = await outcomeOf(async (tx) => {
      const open = tx.savepoint(async (inner) => {
        await sleep(50);
        await insert(inner, 'late');
      });
      open.catch(() => {});
      await insert(tx, 'unreached').catch(() => {});
    });
    expect(outcome).toEqual(failed('savepoint_open'));
    const alone = await outcomeOf((tx) => {
      void tx.savepoint(() => sleep(50)).catch(() => {});
    });
    expect(alone).toEqual(failed('statement_not_awaited'));
    await sleep(60);
  });

  it('nest, and keep what is outside of a failed one', async () => {
    const outcome = await outcomeOf(async (tx) => {
      await insert(tx, 'a');
      await tx.savepoint(async (outer) => {
        await insert(outer, 'b');
        await outer
          .savepoint(async (inner) => {
            await insert(inner, 'c');
            throw new Error('undone');
          })
          .catch(() => {});
        await insert(outer, 'd');
      });
      await insert(tx, 'e');
    });
    expect(outcome).toEqual(committed('a', 'b', 'd', 'e'));
  });
});

describe('a statement while rows are read', () => {
  const rows = (tx: Tx) => tx`select generate_series(1, 100) as n`;
  const within = async (tx: Tx) => {
    for await (const _ of rows(tx).cursor(10)) await insert(tx, randomUUID());
  };
  it.each<[string, (tx: Tx) => unknown]>([
    ['in the loop of a cursor', within],
    [
      'in the function of a cursor',
      (tx) => rows(tx).cursor(10, () => void caught(insert(tx, 'x'))),
    ],
    [
      'after the first rows',
      async (tx) => {
        await rows(tx).cursor(10)[Symbol.asyncIterator]().next();
        await insert(tx, 'x');
      },
    ],
    [
      'as a savepoint',
      async (tx) => {
        await rows(tx).cursor(10)[Symbol.asyncIterator]().next();
        await tx.savepoint(async (inner) => insert(inner, 'x'));
      },
    ],
    ['in a savepoint', (tx) => tx.savepoint(async (inner) => within(inner))],
    [
      'of a COPY',
      async (tx) => {
        await tx`copy (select generate_series(1, 10)) to stdout`.readable();
        await insert(tx, 'x');
      },
    ],
  ])('%s is refused, in place of waiting without end', async (_, body) => {
    expect(await outcomeOf(body)).toEqual(failed('cursor_open'));
  });

  it('is none once they were read, or left', async () => {
    const outcome = await outcomeOf(async (tx) => {
      for await (const _ of rows(tx).cursor(10)) break;
      await insert(tx, 'a');
      for await (const _ of rows(tx).cursor(10));
      await insert(tx, 'b');
      await rows(tx).cursor(10, () => {});
      await insert(tx, 'c');
      await caught(
        (async () => {
          for await (const _ of tx`select 1 / (n - 50) from generate_series(1, 100) n`.cursor(10));
        })(),
      );
    });
    expect(outcome).toEqual(failed('22012'));
    const left = await outcomeOf(async (tx) => {
      for await (const _ of rows(tx).cursor(10)) break;
      const copied = await tx`copy (select generate_series(1, 10)) to stdout`.readable();
      for await (const _ of copied);
      await insert(tx, 'a');
    });
    expect(left).toEqual(committed('a'));
  });
});
