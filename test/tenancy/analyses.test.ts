/** Rows of one tenant do not conflict with those of another. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Database } from '../../src/db/database.ts';
import { openOperatorToken, tenantSql } from '../../src/db/tenant.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';

let test: TestDatabase;
let database: Database;
beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open();
  await test.sql`insert into tenants (id) values ('one'), ('two')`;
});
afterAll(() => test.close());

it('an analysis for a job number that another tenant has used is stored', async () => {
  const insertAs = async (tenantId: string) => {
    const sql = tenantSql(database.tenant, {
      token: await openOperatorToken(test.sql, tenantId, 60_000),
    });
    await sql`
      insert into analyses (tenant_id, job_id, analyst, period_start, period_end, currency, total_cost,
        headline, summary)
      values (${tenantId}, 500005, '{}', '2026-09-01', '2026-09-30', 'USD', 1, ${randomUUID()}, '')
      on conflict (tenant_id, job_id) do nothing`;
  };
  await insertAs('one');
  await insertAs('two');
  await insertAs('two');
  const rows = await test.sql`select tenant_id from analyses order by tenant_id`;
  expect(rows.map((row) => String(row['tenant_id']))).toEqual(['one', 'two']);
});
