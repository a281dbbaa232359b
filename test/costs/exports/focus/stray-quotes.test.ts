/** A quote that does not belong there must not swallow rows; a value that holds line breaks is read. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { uploadByTenantColumn } from '../../../../src/costs/uploads/tenants.ts';
import { noJob, openBench, storedFaults } from '../../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../../handlers/handler-bench.ts';
import { focusFileWith, focusHeader } from './file.ts';

let bench: HandlerBench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench.close());

const more = ['InvoiceId'];
const columns = focusHeader.length + more.length;
const name = 'stray.csv';

/** A file of 1,000 rows of cost 1 without quotes, in which the rows of these lines have other values. */
function file(changes: Readonly<Record<number, Readonly<Record<string, string>>>>): string {
  const rows = Array.from({ length: 1000 }, (_, index) => ({
    BillingAccountId: '123456789012',
    BilledCost: '1',
    InvoiceId: `i${index + 2}`,
    ...changes[index + 2],
  }));
  return focusFileWith(more, rows);
}

/** In the last column, a middle one and the first. */
const places = ['InvoiceId', 'ResourceId', 'ProviderName'];

const cases = places.flatMap((column): [string, string, number, number][] => [
  [
    `opens and closes in ${column}, 800 rows apart`,
    file({ 102: { [column]: '"r' }, 902: { [column]: 'r"' } }),
    102,
    902,
  ],
  [
    `opens and closes in ${column}, 10 rows apart`,
    file({ 102: { [column]: '"r' }, 112: { [column]: 'r"' } }),
    102,
    112,
  ],
  [
    `opens and closes in ${column} of neighbouring rows`,
    file({ 102: { [column]: '"r' }, 103: { [column]: 'r"' } }),
    102,
    103,
  ],
  [
    `opens twice in ${column}, 800 rows apart`,
    file({ 102: { [column]: '"r' }, 902: { [column]: '"r' } }),
    102,
    902,
  ],
  [
    `opens twice in ${column} of neighbouring rows`,
    file({ 102: { [column]: '"r' }, 103: { [column]: '"r' } }),
    102,
    103,
  ],
  [
    `opens in ${column} and closes in another column of the next row`,
    file({ 102: { [column]: '"r' }, 103: { ServiceName: 's"' } }),
    102,
    103,
  ],
  [
    `opens in ${column} of a file whose other values are quoted`,
    file({ 102: { [column]: '"r' }, 104: { ChargeDescription: '"a, b"' } }),
    102,
    104,
  ],
]);

describe('a stray quote', () => {
  it.each(cases)('that %s refuses the file with its lines', async (_, text, from, to) => {
    const tenantId = await bench.addTenant();
    const path = await bench.file(name, text);
    await expect(bench.ingest(tenantId, path)).rejects.toMatchObject({
      code: 'csv_unterminated_quote',
      message: expect.stringMatching(
        new RegExp(
          `^${name}: lines ${from} to ${to} are one record: a quote opens in line ${from} `,
        ),
      ),
      details: { class: 'fatal', line: from, lastLine: to },
    });
    expect(
      await bench.test.sql`select from cost_records where tenant_id = ${tenantId}`,
    ).toHaveLength(0);
  });

  it('in an export of many tenants refuses it before one upload is ready', async () => {
    const tenantId = await bench.addTenant();
    const rows = [{ SubAccountId: tenantId }, {}, {}, {}];
    const [header, ...lines] = focusFileWith(['SubAccountId'], rows).trimEnd().split('\n');
    const stray = [header, lines[0], `${lines[1]}"x`, `"${lines[2]}`, lines[3]].join('\n');
    const request = {
      database: bench.database,
      path: await bench.file(name, stray),
      column: 'SubAccountId',
      ensureTenant: () => Promise.resolve(),
      onReady: noJob,
    };
    await expect(uploadByTenantColumn(request)).rejects.toMatchObject({
      code: 'csv_unterminated_quote',
      details: { line: 3, lastLine: 4 },
    });
    const states = await bench.test.sql`
      select state from ingest_uploads where tenant_id = ${tenantId}`;
    expect([...states]).toEqual([{ state: 'failed' }]);
  });

  it('in a part of an export is named with the line of its part', async () => {
    const tenantId = await bench.addTenant();
    const second = file({ 102: { InvoiceId: '"r' }, 112: { InvoiceId: 'r"' } });
    const paths = [await bench.file('e-1.csv', file({})), await bench.file('e-2.csv', second)];
    await expect(bench.ingest(tenantId, paths)).rejects.toMatchObject({
      code: 'csv_unterminated_quote',
      message: expect.stringMatching(/^e-2\.csv: lines 102 to 112 are one record/),
    });
  });
});

it.each([
  ['a text of three lines', '"a, b\nc\n"', 'ChargeDescription'],
  ['a text of CRLF lines', '"a\r\n\r\nb, c"', 'ChargeDescription'],
  ['tags over several lines', '"{\n  ""a"": ""1"",\n  ""b"": ""2""\n}"', 'Tags'],
  ['a text of 1,000 lines', `"${'one of many, many lines\n'.repeat(1000)}"`, 'ChargeDescription'],
  ['a line with more commas than a row', `"a\n${','.repeat(columns)}\n"`, 'ChargeDescription'],
  ['an empty line in the last column', '"\n"', 'InvoiceId'],
])('%s is a value', async (_, value, column) => {
  const tenantId = await bench.addTenant();
  const text = file({ 102: { [column]: value }, 103: { [column]: value } });
  const result = await bench.ingest(tenantId, await bench.file(name, text));
  expect(result).toMatchObject({ rows: 1000, errors: 0, warnings: 0 });
});

it.each([
  ['at its end', 'ResourceId', 'i-1"'],
  ['in its middle', 'ChargeDescription', 'a"b'],
])('a value without quotes around it and with one %s is left out', async (_, column, value) => {
  const tenantId = await bench.addTenant();
  const text = file({ 102: { [column]: value } });
  const result = await bench.ingest(tenantId, await bench.file(name, text));
  expect(result).toMatchObject({ rows: 1000, errors: 0, warnings: 1 });
  expect(await storedFaults(bench, tenantId)).toEqual([
    {
      line: 102,
      column_name: column,
      reason: expect.stringMatching(/a quote that has no other.*stored without this value/),
    },
  ]);
});

it('a value with quotes in pairs needs no quotes around it', async () => {
  const tenantId = await bench.addTenant();
  const text = file({ 102: { Tags: '{"env":"prod"}', ChargeDescription: 'a "big" one' } });
  const result = await bench.ingest(tenantId, await bench.file(name, text));
  expect(result).toMatchObject({ rows: 1000, errors: 0, warnings: 0 });
});

it.each([
  ['EffectiveCost"', /column 11 .*a quote that has no other/],
  ['"EffectiveCost"x', /text after a closing quote/],
])('a column named %s refuses the file: its values would be missing', async (column, reason) => {
  const tenantId = await bench.addTenant();
  const text = file({}).replace('EffectiveCost', column);
  await expect(bench.ingest(tenantId, await bench.file(name, text))).rejects.toMatchObject({
    code: 'wrong_columns',
    message: expect.stringMatching(new RegExp(`^${name}: line 1[:,].*${reason.source}`)),
  });
});
