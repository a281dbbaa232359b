/** `purser budget close`. */
import { expect, it } from 'vitest';
import { setBudget } from '../../../../src/budget/budgets.ts';
import { useCliDatabase } from '../../cli-database.ts';

const cli = useCliDatabase();

it('closes a month that has ended, and no other', async () => {
  const { tenantId, sql } = cli;
  await setBudget(sql, { tenantId, monthlyLimitUsd: '5', hard: true });
  await sql`
    insert into llm_budget_periods (budget_id, period_start, tenant_id)
    select id, '2020-02-01', tenant_id from llm_budgets where tenant_id = ${tenantId}`;
  const close = (month: string, ...args: string[]) =>
    cli.invoke('budget', 'close', '--month', month, '--by', 'alice', ...args);
  expect(await close('2020-02')).toMatchObject({
    code: 0,
    out: expect.stringContaining('1 budgets were closed for 2020-02'),
  });
  expect(JSON.parse((await close('2020-02', '--json')).out)).toEqual({
    month: '2020-02',
    closed: 0,
    open: 0,
  });
  expect(await sql`select set_by from llm_period_checkpoints`).toEqual([{ set_by: 'alice' }]);
  for (const month of [new Date().toISOString().slice(0, 7), '2020-2', '0000-01']) {
    expect(await close(month)).toMatchObject({ code: 64, err: expect.stringContaining(month) });
  }
  expect(await cli.invoke('budget', 'verify', '--full')).toMatchObject({ code: 0 });
});
