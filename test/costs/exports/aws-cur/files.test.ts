import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { uploadByTenantColumn } from '../../../../src/costs/uploads/tenants.ts';
import { uploadFile } from '../../../../src/costs/uploads/uploads.ts';
import { curFile, curHeader, curRow } from './file.ts';
import { focusFile } from '../focus/file.ts';
import { noJob, openBench } from '../../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../../handlers/handler-bench.ts';

let bench: HandlerBench;

beforeAll(async () => {
  bench = await openBench();
});
afterAll(async () => {
  await bench.close();
});

describe('a file of the format', () => {
  it('is read as gzip, with BOM and CRLF', async () => {
    const tenantId = await bench.addTenant();
    const text = `\uFEFF${curFile([{}, {}])}`.replaceAll('\n', '\r\n');
    const path = await bench.file('crlf.csv.gz', gzipSync(text));
    expect(await bench.ingest(tenantId, path)).toMatchObject({ rows: 2, errors: 0 });
  });

  it('is split by lineItem/UsageAccountId', async () => {
    const rows = ['111', '222', '111'].map((id) => ({ 'lineItem/UsageAccountId': id }));
    const { uploads } = await uploadByTenantColumn({
      database: bench.database,
      path: await bench.file('split-cur.csv', curFile(rows)),
      column: 'lineItem/UsageAccountId',
      ensureTenant: async (_sql, id) => void (await bench.addTenant(id)),
      onReady: noJob,
    });
    for (const { tenantId, uploadId } of uploads) await bench.ingestUpload(tenantId, uploadId);
    const lines = await bench.test.sql`
      select tenant_id, line::int from cost_records where tenant_id in ('111', '222') order by line`;
    expect(lines.map((row) => [row['tenant_id'], row['line']])).toEqual([
      ['111', 2],
      ['222', 3],
      ['111', 4],
    ]);
  });

  it('read with the wrong --format is refused with the format that it looks like', async () => {
    const tenantId = await bench.addTenant();
    const { database } = bench;
    const common = { database, tenantId, onReady: noJob };
    const cur = await bench.file('asked.csv', curFile([{}]));
    await expect(uploadFile({ ...common, path: cur, format: 'focus' })).rejects.toMatchObject({
      code: 'wrong_columns',
      message: expect.stringMatching(/not a FOCUS .*missing ProviderName.*format aws-cur/),
    });
    const focus = await bench.file('asked-focus.csv', focusFile([{}]));
    await expect(uploadFile({ ...common, path: focus, format: 'aws-cur' })).rejects.toMatchObject({
      code: 'wrong_columns',
      message: expect.stringMatching(
        /not a legacy AWS CUR .*lineItem\/UnblendedCost.*format focus/,
      ),
    });
  });

  it('with missing columns is refused with each name; alternatives are named together', async () => {
    const tenantId = await bench.addTenant();
    const lines = ['identity/LineItemId,lineItem/UnblendedCost', 'a,1'];
    const path = await bench.file('lacks.csv', lines.join('\n'));
    await expect(bench.ingest(tenantId, path)).rejects.toMatchObject({
      code: 'wrong_columns',
      message: expect.stringMatching(
        /missing bill\/PayerAccountId, product\/ProductName or lineItem\/ProductCode, .*bill\/BillingPeriodStartDate/,
      ),
    });
  });

  it('of CUR 2.0 is distinguished from the legacy one', async () => {
    const tenantId = await bench.addTenant();
    const path = await bench.file('cur2.csv', 'bill_bill_type,line_item_unblended_cost\n,1\n');
    await expect(bench.ingest(tenantId, path)).rejects.toThrow(
      'not an AWS CUR 2.0 file: missing bill_payer_account_id',
    );
  });

  it('with a tag column twice is refused', async () => {
    const tenantId = await bench.addTenant();
    const content = `${curHeader.join(',')},resourceTags/user:team\n${curRow()},x\n`;
    await expect(bench.ingest(tenantId, await bench.file('twice.csv', content))).rejects.toThrow(
      'the column resourceTags/user:team appears twice',
    );
  });
});

describe('one row with a fault between two valid ones', () => {
  const cost = 'lineItem/UnblendedCost';
  it.each([
    ['NaN', { [cost]: 'NaN' }, cost, /"NaN" is not a decimal number/],
    ['1e400', { [cost]: '1e400' }, cost, /more than 20 digits before the point/],
    ['no cost', { [cost]: '' }, cost, /no value/],
    ['a NULL cost', { [cost]: 'NULL' }, cost, /no value/],
    ['no type', { 'lineItem/LineItemType': '' }, 'lineItem/LineItemType', /no value/],
    [
      'no name of a service',
      { 'product/ProductName': '', 'lineItem/ProductCode': '' },
      'product/ProductName',
      /no value/,
    ],
    [
      'an unknown currency',
      { 'lineItem/CurrencyCode': 'EURO' },
      'lineItem/CurrencyCode',
      /ISO 4217/,
    ],
    [
      'an inverted period',
      { 'lineItem/UsageEndDate': '2024-09-02T00:00:00Z' },
      'lineItem/UsageEndDate',
      /before it starts/,
    ],
    [
      'the field is not UTF-8',
      { 'product/ProductName': 'M\u00fcnch' },
      'product/ProductName',
      /not UTF-8/,
    ],
    [
      'a field of 10 MB',
      { 'product/ProductName': 'x'.repeat(10_000_000) },
      'product/ProductName',
      /10000000 bytes/,
    ],
  ])('%s is reported with its line and column', async (_name, values, column, reason) => {
    const tenantId = await bench.addTenant();
    const content = Buffer.from(curFile([{}, values, {}]), 'latin1');
    const result = await bench.ingest(tenantId, await bench.file(`${tenantId}.csv`, content));
    expect(result).toMatchObject({ rows: 2, errors: 1, billedCost: [{ billedCost: '2.5' }] });
    const faults = await bench.test.sql`
      select line::int, column_name, reason from ingest_errors where tenant_id = ${tenantId}`;
    expect([...faults]).toEqual([
      { line: 3, column_name: column, reason: expect.stringMatching(reason) },
    ]);
  });
});

it('a name of a tag that cannot be stored costs its row only the tags', async () => {
  const tenantId = await bench.addTenant();
  const content = curFile([{ 'resourceTags/user:team': 'a' }]).replace(
    'user:team',
    'user\u0000team',
  );
  const result = await bench.ingest(tenantId, await bench.file('nul.csv', content));
  expect(result).toMatchObject({ rows: 1, errors: 0, warnings: 1 });
  const faults = await bench.test.sql`
    select column_name, reason from ingest_errors where tenant_id = ${tenantId}`;
  expect([...faults]).toEqual([
    { column_name: 'resourceTags/user?team', reason: expect.stringMatching(/cannot be stored/) },
  ]);
});
