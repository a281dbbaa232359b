import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Database } from '../../src/db/database.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import type { TenantSql } from '../../src/db/tenant.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

let test: TestDatabase;
let database: Database;
beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ tenantConnections: 2 });
});
afterAll(() => test.close());

const as = async (): Promise<TenantSql> => {
  const { token } = await startAttempt(test.sql, await addTenant(test.sql));
  return tenantSql(database.tenant, { token });
};

it('a transaction for another tenant inside a transaction is an error, and neither commits', async () => {
  const [outer, inner] = [await as(), await as()];
  const nested = outer.begin(async (tx) => {
    await tx`
      insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
      select id, 'outer', 'x', 1 from tenants`;
    await inner`select 1`;
  });
  await expect(nested).rejects.toMatchObject({ code: 'nested_tenant' });
  expect(await test.sql`select from aws_accounts where account_id = 'outer'`).toEqual([]);
});

it('also through a helper that waits first, and with begin', async () => {
  const [outer, inner] = [await as(), await as()];
  const helper = async () => {
    await new Promise((resolve) => setImmediate(resolve));
    return inner.begin((tx) => tx`select 1`);
  };
  await expect(outer.begin(helper)).rejects.toMatchObject({ code: 'nested_tenant' });
});

it('sequential and concurrent transactions are allowed', async () => {
  const [one, two] = [await as(), await as()];
  await one.begin((tx) => tx`select 1`);
  await two.begin((tx) => tx`select 1`);
  const both = [one.begin((tx) => tx`select 1`), two.begin((tx) => tx`select 1`)];
  expect(await Promise.all(both)).toHaveLength(2);
});

const inside: Readonly<Record<string, (sql: TenantSql) => Promise<unknown>>> = {
  'sql.begin': (sql) => sql.begin((tx) => tx`select 1`),
  'two sql.begin at once': (sql) =>
    Promise.all([sql.begin((tx) => tx`select 1`), sql.begin((tx) => tx`select 1`)]),
  'a statement of sql': (sql) => sql`select 1`,
  'sql.unsafe': (sql) => sql.unsafe('select 1'),
  'sql.begin after a wait': async (sql) => {
    await new Promise((resolve) => setImmediate(resolve));
    return sql.begin((tx) => tx`select 1`);
  },
};

describe.each(Object.entries(inside))('%s inside sql.begin of the same attempt', (_, use) => {
  it('is refused at once, naming what to use, and the transaction goes on', async () => {
    const { token } = await startAttempt(test.sql, await addTenant(test.sql));
    // One session, as in a thread of its own: waiting for a second one would never end.
    const narrow = await test.open({ tenantConnections: 1 });
    const sql = tenantSql(narrow.tenant, { token });
    const refusal = {
      code: 'nested_transaction',
      message: expect.stringMatching(/sql\.begin\(async \(tx\) => .*tx\.savepoint/),
      details: { class: 'fatal' },
    };
    const committed = await sql.begin(async (tx) => {
      await expect(use(sql)).rejects.toMatchObject(refusal);
      return tx`select 1 as one`;
    });
    expect(committed).toEqual([{ one: 1 }]);
    await expect(sql.begin(() => use(sql))).rejects.toMatchObject(refusal);
  });
});

it('code that a transaction left running may begin its own once that one has ended', async () => {
  const sql = await as();
  let end = (): void => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  let left: Promise<unknown> = Promise.resolve();
  await sql.begin(async (tx) => {
    left = ended.then(() => sql`select 2 as two`);
    await tx`select 1`;
  });
  end();
  expect(await left).toEqual([{ two: 2 }]);
});

it('more transactions at once than there are sessions wait for each other', async () => {
  const sql = await as();
  const many = Array.from({ length: 50 }, (_, n) =>
    n % 2 === 0 ? sql`select ${n}::int as n` : sql.begin((tx) => tx`select ${n}::int as n`),
  );
  expect(await Promise.all(many)).toEqual(many.map((_, n) => [{ n }]));
});

it.each([undefined, 'read only', null, {}])('sql.begin(%j) names what it takes', async (fn) => {
  const sql = await as();
  // What a compiler would not let through.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  await expect(sql.begin(fn as never)).rejects.toMatchObject({
    code: 'invalid_argument',
    message: expect.stringMatching(/^ctx\.sql\.begin: .* function/),
    details: { class: 'fatal' },
  });
});
