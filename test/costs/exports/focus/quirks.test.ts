import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { focusFile, focusHeader, focusRow } from './file.ts';
import { openBench } from '../../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../../handlers/handler-bench.ts';

let bench: HandlerBench;

beforeAll(async () => {
  bench = await openBench();
});
afterAll(async () => {
  await bench.close();
});

const one = async (content: string | Buffer): Promise<Record<string, unknown>> => {
  const tenant = await bench.addTenant();
  const result = await bench.ingest(tenant, await bench.file(`${tenant}.csv`, content));
  expect(result).toMatchObject({ rows: 1, errors: 0 });
  const [row] = await bench.test.sql`select * from cost_records where tenant_id = ${tenant}`;
  return { ...row };
};

describe('an unusual but valid file', () => {
  it('distinguishes an unquoted NULL, a quoted "NULL" and an empty field', async () => {
    expect(await one(focusFile([{ ResourceId: 'NULL' }]))).toMatchObject({ resource_id: null });
    expect(await one(focusFile([{ ResourceId: '"NULL"' }]))).toMatchObject({ resource_id: 'NULL' });
    expect(await one(focusFile([{ ResourceId: '""' }]))).toMatchObject({ resource_id: null });
  });

  it('takes a quoted "NULL" as no value where every field of the row is quoted', async () => {
    const quoted = focusFile([{ ConsumedQuantity: 'NULL' }]).replaceAll(/"?([^",\n]+)"?/g, '"$1"');
    expect(await one(quoted)).toMatchObject({
      resource_id: null,
      consumed_quantity: null,
      tags: {},
      billing_account_id: '123456789012',
    });
  });

  it.each([
    ['-12.50', '-12.50'],
    ['4e-10', '0.0000000004'],
    ['1E-18', '0.000000000000000001'],
    ['+.5', '0.5'],
    ['123456789012345678.12345678901', '123456789012345678.12345678901'],
    ['"0.00000000000"', '0.00000000000'],
  ])('keeps the cost %s to the last digit', async (text, stored) => {
    expect(await one(focusFile([{ BilledCost: text }]))).toMatchObject({ billed_cost: stored });
  });

  it('reads a BOM, CRLF, quoted commas, quotes and line breaks', async () => {
    const text = focusFile([{ ChargeDescription: '"a, ""b""\nc"' }]).replace(/\n(?!c)/g, '\r\n');
    const row = await one(`\uFEFF${text}`);
    expect(row).toMatchObject({ charge_description: 'a, "b"\nc', line: '2' });
  });

  it('reads a last line without a line end', async () => {
    expect(await one(focusFile([{}]).trimEnd())).toMatchObject({ billed_cost: '1.25' });
  });

  it('stores tabs and backslashes unchanged', async () => {
    const row = await one(focusFile([{ ResourceId: '\\N', ChargeDescription: 'C:\\new\ttab' }]));
    expect(row).toMatchObject({ resource_id: '\\N', charge_description: 'C:\\new\ttab' });
  });

  it('normalises the spelling of vocabulary words', async () => {
    expect(await one(focusFile([{ ChargeFrequency: 'Usage-based' }]))).toMatchObject({
      charge_frequency: 'Usage-Based',
    });
  });

  it.each([
    ['"{""env"": ""prod"", ""org"": ""t"", "" org"": ""t""}"', { env: 'prod', org: 't' }],
    ['"{""org"": ""a"", "" org"": ""b""}"', { org: 'a', ' org': 'b' }],
    ['"{""__proto__"": ""x""}"', JSON.parse('{"__proto__": "x"}')],
    ['"""env"": ""prod"""', { env: 'prod' }],
    ['"{""n"": 12, ""x"": -0.5, ""s"": ""1.10""}"', { n: 12, s: '1.10', x: -0.5 }],
    [
      '"{""id"": 12345678901234567890, ""v"": 1.10, ""e"": 1e400, ""in"": {""list"": [7, 0.30]}}"',
      { e: '1e400', v: '1.10', id: '12345678901234567890', in: { list: [7, '0.30'] } },
    ],
    ['""', {}],
    ['[]', {}],
    [
      '"[{""key"": ""env"", ""value"": ""prod""}, {""key"": ""n"", ""value"": null}]"',
      { n: null, env: 'prod' },
    ],
  ])('reads the tags %s', async (text, tags) => {
    const row = await one(focusFile([{ Tags: text }]));
    expect(JSON.stringify(row['tags'])).toBe(JSON.stringify(tags));
  });

  it.each([
    ['2024-09-03 07:00:00', '2024-09-03T07:00:00.000Z'],
    ['2024-09-03T07:00:00Z', '2024-09-03T07:00:00.000Z'],
    ['2024-09-03T09:00:00+02:00', '2024-09-03T07:00:00.000Z'],
    ['2024-09-03', '2024-09-03T00:00:00.000Z'],
  ])('reads the instant %s', async (text, instant) => {
    const row = await one(focusFile([{ ChargePeriodStart: text }]));
    expect(row['charge_period_start']).toEqual(new Date(instant));
  });

  it('may have columns in any order, of other versions, and of a provider', async () => {
    const header = [...focusHeader.toReversed(), 'x_Discount', 'ServiceSubcategory', 'InvoiceId'];
    const values = [...focusRow().split(',').toReversed(), '1', 'Object Storage', 'i-1'];
    expect(await one(`${header.join(',')}\n${values.join(',')}\n`)).toMatchObject({
      billed_cost: '1.25',
      provider_name: 'AWS',
    });
  });
});
