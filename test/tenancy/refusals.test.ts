import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import postgres from 'postgres';
import type { Tx } from '../../src/db/connect.ts';
import type { Database } from '../../src/db/database.ts';
import { queryTag, refusalOf } from '../../src/db/refusals.ts';
import type { Refusal } from '../../src/db/refusals.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

let test: TestDatabase;
let databases: Record<'L2' | 'L3', Database>;
beforeAll(async () => {
  test = await freshDatabase();
  databases = { L2: await test.open(), L3: await test.open({ level: 'L3' }) };
});
afterAll(() => test.close());

const secret = 'AKIA-not-for-a-log';

describe('a reported refusal', () => {
  it.each([
    ['L2', 'purser_tenant'],
    ['L3', 'purser_app_tenant'],
  ] as const)(
    'at %s contains role, statement tag and SQLSTATE, and no value',
    async (level, role) => {
      const refused: Refusal[] = [];
      const context = { onRefused: (refusal: Refusal) => refused.push(refusal) };
      const [mine, theirs] = [await addTenant(test.sql), await addTenant(test.sql)];
      const { token } = await startAttempt(test.sql, mine);
      const sql = tenantSql(databases[level].tenant, { ...context, token });
      const plant = sql`
      insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
      values (${theirs}, ${secret}, ${secret}, 1)`;
      await expect(plant).rejects.toMatchObject({ code: '42501' });
      const forged = tenantSql(databases[level].tenant, { ...context, token: randomUUID() });
      // Caught by the handler, reported nevertheless.
      await forged
        .begin(async (tx) => {
          await tx
            .unsafe(`/* nightly-report */ select '${secret}' from aws_accounts`)
            .catch(() => {});
        })
        .catch(() => {});
      await forged
        .unsafe(`select * from aws_accounts where account_id = '${secret}'`)
        .catch(() => {});
      expect(refused).toEqual([
        { code: '42501', role, queryTag: expect.stringMatching(/^insert:[0-9a-f]{8}$/) },
        { code: 'PU001', role, queryTag: 'nightly-report' },
        { code: 'PU001', role, queryTag: expect.stringMatching(/^select:[0-9a-f]{8}$/) },
      ]);
      expect(JSON.stringify(refused)).not.toContain(secret);
    },
  );

  it('is reported once, also when the handler rolled back to a savepoint', async () => {
    const refused: Refusal[] = [];
    const [mine, theirs] = [await addTenant(test.sql), await addTenant(test.sql)];
    const { token } = await startAttempt(test.sql, mine);
    const onRefused = (refusal: Refusal) => refused.push(refusal);
    const sql = tenantSql(databases.L3.tenant, { token, onRefused });
    const plant = (tx: Tx) => tx`
      /* planted */ insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
      values (${theirs}, ${secret}, ${secret}, 1)`;
    await sql.begin(async (tx) => {
      await tx.savepoint(plant).catch(() => {});
      await tx.savepoint('named', (one) => one.savepoint(plant).catch(() => {}));
    });
    expect(refused.map(({ queryTag: tag }) => tag)).toEqual(['planted', 'planted']);
    await sql.begin((tx) => tx.savepoint(plant)).catch(() => {});
    expect(refused).toHaveLength(3);
  });

  it('is recognised where the server speaks another language', () => {
    const error = new postgres.PostgresError({
      message:
        'neue Zeile verletzt Policy für Sicherheit auf Zeilenebene für Tabelle »aws_accounts«',
      code: '42501',
      routine: 'ExecWithCheckOptions',
    } as never);
    expect(refusalOf(error, 'purser_tenant')).toMatchObject({ code: '42501' });
  });

  it('is absent when a statement fails for another reason', async () => {
    const refused: Refusal[] = [];
    const { token } = await startAttempt(test.sql, await addTenant(test.sql));
    const onRefused = (refusal: Refusal) => refused.push(refusal);
    const sql = tenantSql(databases.L2.tenant, { token, onRefused });
    for (const statement of ['select 1 / 0', 'select * from llm_budgets', 'nonsense']) {
      await expect(sql.unsafe(statement)).rejects.toThrow(/division|permission|syntax/);
    }
    expect(refused).toEqual([]);
  });
});

describe('the tag of a statement', () => {
  it('is the same for other values, other white space and other case of the verb', () => {
    const tags = [
      `select * from t where a = 'x' and n = 1`,
      `select * from t  where a = 'it''s'\n and n = 27.5`,
      `select * from t where a = $$y$$ and n = 3`,
    ].map(queryTag);
    expect(new Set(tags).size).toBe(1);
    expect(queryTag('SELECT 1')).toMatch(/^select:/);
    expect(queryTag('select * from u')).not.toBe(queryTag('select * from t'));
  });

  it.each([
    ['/* billing.totals */ select 1', 'billing.totals'],
    ['  -- rows:of-upload\nselect 1', 'rows:of-upload'],
  ])('is the name in its first comment: %s', (text, tag) => {
    expect(queryTag(text)).toBe(tag);
  });

  it.each([`/* ${secret} and more */ select 1`, `-- a 'text'\nselect 1`, `'${secret}'`, ''])(
    'holds no text that is no name: %s',
    (text) => {
      expect(queryTag(text)).toMatch(/^(select|other):[0-9a-f]{8}$/);
    },
  );
});
