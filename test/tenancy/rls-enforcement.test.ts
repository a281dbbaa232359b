import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import type { Database } from '../../src/db/database.ts';
import { closeOperatorToken, openOperatorToken, tenantSql } from '../../src/db/tenant.ts';
import type { TenantSql } from '../../src/db/tenant.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant, endAttempt, startAttempt } from '../support/tenants.ts';

let test: TestDatabase;
let database: Database;
/** The same login without the guard of withTenant. */
let outside: Sql;
let mine: string;
let theirs: string;

/** Rows of a tenant's own, in a table where it may select and insert. */
const addAccount = (sql: TenantSql, tenantId: string, accountId: string) => sql`
  insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
  values (${tenantId}, ${accountId}, 'sealed', 1)`;

async function as(tenantId: string): Promise<TenantSql> {
  const { token } = await startAttempt(test.sql, tenantId);
  return tenantSql(database.tenant, { token });
}

beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ tenantConnections: 1 });
  outside = connect(test.url, { max: 1, applicationName: 'purser test outside' });
  mine = await addTenant(test.sql);
  theirs = await addTenant(test.sql);
  await addAccount(await as(mine), mine, 'mine');
  await addAccount(await as(theirs), theirs, 'theirs');
});
afterAll(async () => {
  await outside.end({ timeout: 5 });
  await test.close();
});

describe('the tenant role', () => {
  it('without a context reads nothing but an exception: test_rls_missing_context_throws_exception', async () => {
    const asRole = outside.begin(async (tx) => {
      await tx`set local role purser_tenant`;
      return tx`select * from aws_accounts`;
    });
    await expect(asRole).rejects.toMatchObject({
      code: 'PU001',
      message: expect.stringContaining('rls_enforcement_failed'),
    });
    const empty = tenantSql(database.tenant, { token: '' });
    await expect(empty`select * from aws_accounts`).rejects.toMatchObject({ code: 'PU001' });
  });

  it('with a context reads its own rows, all of them: test_rls_with_context_passes', async () => {
    const sql = await as(mine);
    expect(await sql`select account_id from aws_accounts`).toEqual([{ account_id: 'mine' }]);
    expect(await sql`select id from tenants`).toEqual([{ id: mine }]);
  });

  it("never reads or writes another tenant's: test_rls_exception_prevents_cross_tenant_query", async () => {
    const sql = await as(mine);
    expect(await sql`select * from aws_accounts where tenant_id = ${theirs}`).toEqual([]);
    expect(
      await sql.unsafe(`select * from aws_accounts where tenant_id = $1 or true`, [theirs]),
    ).toMatchObject([{ account_id: 'mine' }]);
    await expect(addAccount(sql, theirs, 'planted')).rejects.toMatchObject({ code: '42501' });
    const forged = tenantSql(database.tenant, { token: randomUUID() });
    await expect(forged`select * from aws_accounts where tenant_id = ${theirs}`) //
      .rejects.toMatchObject({ code: 'PU001' });
    expect(await test.sql`select from aws_accounts where account_id = 'planted'`).toEqual([]);
  });
});

describe('a token', () => {
  it.each(['not-a-uuid', "'; drop table tenants; --", '00000000-0000-0000-0000-00000000000G'])(
    'that is none is refused: %s',
    async (token) => {
      const sql = tenantSql(database.tenant, { token });
      await expect(sql`select 1 as one from aws_accounts`).rejects.toMatchObject({ code: 'PU001' });
      await expect(sql`select 1 as one`).rejects.toMatchObject({ code: 'PU001' });
    },
  );

  it('of an attempt that ended reads and writes nothing any more', async () => {
    const attempt = await startAttempt(test.sql, mine);
    const sql = tenantSql(database.tenant, { token: attempt.token });
    expect(await sql`select account_id from aws_accounts`).toHaveLength(1);
    await endAttempt(test.sql, attempt);
    await expect(sql`select account_id from aws_accounts`).rejects.toMatchObject({ code: 'PU001' });
    await expect(addAccount(sql, mine, 'late')).rejects.toMatchObject({ code: 'PU001' });
    await expect(sql`select 1 as harmless`).rejects.toMatchObject({ code: 'PU002' });
  });

  it('of an operator that was closed or expired is refused', async () => {
    const open = await openOperatorToken(test.sql, mine, 60_000);
    const sql = tenantSql(database.tenant, { token: open });
    expect(await sql`select account_id from aws_accounts`).toHaveLength(1);
    await closeOperatorToken(test.sql, open);
    await expect(sql`select account_id from aws_accounts`).rejects.toMatchObject({ code: 'PU001' });
    const expired = await openOperatorToken(test.sql, mine, -1);
    await expect(
      tenantSql(database.tenant, { token: expired })`select account_id from aws_accounts`,
    ).rejects.toMatchObject({ code: 'PU001' });
  });

  it('of an operator is given only for a known tenant', async () => {
    await expect(openOperatorToken(test.sql, 'nobody', 1_000)).rejects.toMatchObject({
      code: 'unknown_tenant',
    });
  });

  it('of an attempt cannot be closed by closeOperatorToken', async () => {
    const attempt = await startAttempt(test.sql, mine);
    await closeOperatorToken(test.sql, attempt.token);
    const sql = tenantSql(database.tenant, { token: attempt.token });
    expect(await sql`select account_id from aws_accounts`).toHaveLength(1);
  });
});

it('a write that meets no row raises as well when there is no context', async () => {
  const nowhere = (statement: string) =>
    outside.begin(async (tx) => {
      await tx`set local role purser_tenant`;
      await tx.unsafe(statement);
    });
  for (const statement of [
    `delete from cost_records where false`,
    `update cost_deliveries set row_count = 1 where false`,
    `insert into analyses (tenant_id) select 'x' where false`,
  ]) {
    await expect(nowhere(statement)).rejects.toMatchObject({ code: 'PU001' });
  }
});

it('a handler that catches the error of a statement commits nothing', async () => {
  const sql = await as(mine);
  const swallowed = sql.begin(async (tx) => {
    await tx`
      insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
      values (${mine}, 'half', 'sealed', 1)`;
    await tx`select 1 / 0`.catch(() => {});
  });
  await expect(swallowed).rejects.toMatchObject({ code: '22012' });
  expect(await test.sql`select from aws_accounts where account_id = 'half'`).toEqual([]);
});
