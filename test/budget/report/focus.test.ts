/** A FOCUS report goes through the ingestion of cost exports: every nano-dollar arrives, once, with its tenant. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { budgetReport } from '../../../src/budget/report/report.ts';
import { dailyCosts } from '../../../src/budget/report/daily.ts';
import { focusCsv } from '../../../src/budget/report/focus.ts';
import { parseUsd } from '../../../src/budget/money.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { ingestSplit, splitFile } from '../../costs/uploads/split.ts';
import { openBench } from '../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../handlers/handler-bench.ts';
import { addTenant } from '../../support/tenants.ts';
import { attemptOf, callOf } from './calls.ts';

let bench: HandlerBench;
let sql: Sql;
beforeAll(async () => {
  bench = await openBench();
  ({ sql } = bench.test);
  // The bench gives its own runs the first ids.
  await sql`select setval(pg_get_serial_sequence('public.jobs', 'id'), 2000000)`;
});
afterAll(() => bench.close());

async function fileOfMonth(name: string): Promise<{ path: string; spentUsd: string }> {
  const { month, days } = await dailyCosts(sql);
  const { total } = await budgetReport(sql);
  const path = await bench.file(name, `${focusCsv(month, days).join('\n')}\n`);
  return { path, spentUsd: total.spentUsd };
}

async function ingested(): Promise<{ billed: bigint; tenants: Record<string, string> }> {
  const rows = await sql<{ tenant: string; billed: string }[]>`
    select tenant_id as tenant, trim_scale(sum(billed_cost)) as billed from cost_records group by 1`;
  return {
    billed: rows.reduce((sum, row) => sum + parseUsd(row.billed), 0n),
    tenants: Object.fromEntries(rows.map(({ tenant, billed }) => [tenant, billed])),
  };
}

it('the sum of BilledCost is the sum of spent, also after the month was exported again', async () => {
  const [one, odd] = [await addTenant(sql, { limitUsd: '9' }), '-1+2,"NULL"'];
  await sql`insert into tenants (id, plan) values (${odd}, 'free')`;
  await sql`insert into llm_budgets (tenant_id, monthly_limit_usd) values (${odd}, 9)`;
  const first = await attemptOf(sql, one, 'summarise');
  await callOf(sql, first, { hold: '1', cost: '0.000000001' });
  await callOf(sql, first, { hold: '1', cost: '0.123456789', model: 'gpt-4o, large' });
  await callOf(sql, first, { hold: '1', ends: 'unknown' });
  await callOf(sql, first, { hold: '1', ends: 'held', provider: 'google' });
  const second = await attemptOf(sql, odd, 'translate');
  await callOf(sql, second, { hold: '1', cost: '0.000000007', provider: 'anthropic' });

  const exported = await fileOfMonth('focus-1.csv');
  expect(exported.spentUsd).toBe('0.123456797');
  const split = await splitFile(bench, exported.path);
  expect(split).toMatchObject({ errors: 0, rows: 3 });
  const results = await ingestSplit(bench, split);
  expect(results.map(({ errors, warnings, note }) => [errors, warnings, note])).toEqual([
    [0, 0, null],
    [0, 0, null],
  ]);
  expect(await ingested()).toEqual({
    billed: parseUsd(exported.spentUsd),
    tenants: { [one]: '0.12345679', [odd]: '0.000000007' },
  });

  await callOf(sql, second, { hold: '1', cost: '0.5', provider: 'anthropic' });
  const again = await fileOfMonth('focus-2.csv');
  await ingestSplit(bench, await splitFile(bench, again.path));
  expect((await ingested()).billed).toBe(parseUsd(again.spentUsd));
  const [stored] = await sql`
    select provider_name, service_category, sku_id, resource_id, charge_category, consumed_unit, tags,
      charge_period_end - charge_period_start = interval '1 day' as "isOneDay"
    from cost_records where sku_id = 'gpt-4o, large'`;
  expect(stored).toEqual({
    provider_name: 'OpenAI',
    service_category: 'AI and Machine Learning',
    sku_id: 'gpt-4o, large',
    resource_id: 'summarise',
    charge_category: 'Usage',
    consumed_unit: 'Tokens',
    tags: { 'purser:job_type': 'summarise', 'purser:model': 'gpt-4o, large' },
    isOneDay: true,
  });
});

const schemaFile = join(
  import.meta.dirname,
  '../../../../shared/data/reference/focuscost_1.2.schema.json',
);

const absent = existsSync(schemaFile) ? '' : ' (skipped: ../shared/data is absent)';

it.skipIf(absent !== '')(`every column is one of FOCUS 1.2${absent}`, () => {
  const schema: { translator: { mappings: { source: { name: string } }[] } } = JSON.parse(
    readFileSync(schemaFile, 'utf8'),
  );
  const known = new Set(schema.translator.mappings.map(({ source }) => source.name));
  const [header = ''] = focusCsv('2026-11-01', []);
  expect(header.split(',').filter((name) => !known.has(name))).toEqual([]);
});
