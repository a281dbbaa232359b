import { afterAll, beforeAll, expect, it } from 'vitest';
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

it('sequential, concurrent and same-token transactions are allowed', async () => {
  const [one, two] = [await as(), await as()];
  await one.begin((tx) => tx`select 1`);
  await two.begin((tx) => tx`select 1`);
  await Promise.all([one.begin((tx) => tx`select 1`), two.begin((tx) => tx`select 1`)]);
  expect(await one.begin(() => one`select 1 as one`)).toEqual([{ one: 1 }]);
});
