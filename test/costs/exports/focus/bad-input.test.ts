import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curFile, curHeader } from '../aws-cur/file.ts';
import { focusFile, focusHeader, focusRow } from './file.ts';
import { openBench, storedFaults } from '../../../handlers/handler-bench.ts';
import type { HandlerBench, StoredFault } from '../../../handlers/handler-bench.ts';

let bench: HandlerBench;

beforeAll(async () => {
  bench = await openBench();
});
afterAll(async () => {
  await bench.close();
});

const faultsOf = (tenantId: string) => storedFaults(bench, tenantId);

/** Ingests a good row, the faulty one and a good row; the file's own lines are 2, 3 and after. */
async function between(faulty: Buffer | string): Promise<StoredFault[]> {
  const tenantId = await bench.addTenant();
  const parts = [`${focusHeader.join(',')}\n${focusRow()}\n`, faulty, `\n${focusRow()}\n`];
  const path = await bench.file(
    `${tenantId}.csv`,
    Buffer.concat(parts.map((part) => Buffer.from(part))),
  );
  const result = await bench.ingest(tenantId, path);
  expect(result).toMatchObject({ rows: 2, errors: 1, billedCost: [{ billedCost: '2.5' }] });
  expect(result).toMatchObject({
    note: expect.stringMatching(
      /^1 row was left out, the first at line \d+, \w+( \w+)*; why: select line, column_name, reason from ingest_errors where upload_id = \d+$/,
    ),
  });
  const [stored] = await bench.test.sql`
    select count(*)::int as rows from cost_records where tenant_id = ${tenantId}`;
  expect(stored).toEqual({ rows: 2 });
  return faultsOf(tenantId);
}

describe('one row with a fault between two valid ones', () => {
  it.each([
    ['NaN', { BilledCost: 'NaN' }, 'BilledCost', /"NaN" is not a decimal number/],
    ['Infinity', { BilledCost: '-Infinity' }, 'BilledCost', /not a decimal/],
    ['1e400', { BilledCost: '1e400' }, 'BilledCost', /more than 20 digits before the point/],
    ['1e-400', { BilledCost: '1e-400' }, 'BilledCost', /more than 60 digits after the point/],
    ['a currency code', { BilledCost: '1000.00 USD' }, 'BilledCost', /without currency sign/],
    ['hexadecimal', { BilledCost: '0x10' }, 'BilledCost', /not a decimal/],
    ['no cost', { BilledCost: '' }, 'BilledCost', /no value/],
    ['a NULL cost', { BilledCost: 'NULL' }, 'BilledCost', /no value/],
    ['a date of another style', { ChargePeriodStart: '9/1/24' }, 'ChargePeriodStart', /"9\/1\/24"/],
    [
      'the 30th of February',
      { ChargePeriodStart: '2024-02-30' },
      'ChargePeriodStart',
      /not a date/,
    ],
    [
      'a date that is in the year 10000 in UTC',
      { ChargePeriodEnd: '9999-12-31T23:00:00-12:00' },
      'ChargePeriodEnd',
      /not a date/,
    ],
    ['the hour 30', { ChargePeriodEnd: '2024-09-03T30:00:00Z' }, 'ChargePeriodEnd', /not a date/],
    [
      'an inverted period',
      { ChargePeriodEnd: '2024-09-02' },
      'ChargePeriodEnd',
      /before it starts/,
    ],
    ['a currency of four letters', { BillingCurrency: 'EURO' }, 'BillingCurrency', /ISO 4217/],
    ['a currency sign as currency', { BillingCurrency: '€' }, 'BillingCurrency', /ISO 4217/],
    [
      'an account id of a spreadsheet',
      { BillingAccountId: '1.23457E+12' },
      'BillingAccountId',
      /"1.23457E\+12" is an id that a spreadsheet has changed; use the file as it was/,
    ],
    [
      'an account id as a float',
      { BillingAccountId: '123456789012.0' },
      'BillingAccountId',
      /spreadsheet/,
    ],
    ['a text of 70,000 bytes', { ServiceName: 'x'.repeat(70_000) }, 'ServiceName', /70000 bytes/],
    ['a NUL character', { ServiceName: 'a\u0000b' }, 'ServiceName', /NUL/],
    ['a key of 900 bytes', { BillingAccountId: 'x'.repeat(900) }, 'BillingAccountId', /800 bytes/],
  ])(
    '%s is reported with its line and column, and the others are kept',
    async (_name, values, column, reason) => {
      const faults = await between(focusRow(values));
      expect(faults).toEqual([
        { line: 3, column_name: column, reason: expect.stringMatching(reason) },
      ]);
    },
  );

  it('too few and too many fields are reported, and valid rows stored', async () => {
    const width = focusHeader.length;
    expect(await between('a,b')).toEqual([
      { line: 3, column_name: null, reason: `2 fields where the header has ${width}` },
    ]);
    expect(await between(`${focusRow()},x`)).toEqual([
      { line: 3, column_name: null, reason: `${width + 1} fields where the header has ${width}` },
    ]);
  });

  it('bytes that are not UTF-8 are reported, and a replacement character in the file is not', async () => {
    const latin1 = Buffer.from(focusRow({ ServiceName: 'Münch' }), 'latin1');
    expect(await between(latin1)).toEqual([
      { line: 3, column_name: 'ServiceName', reason: expect.stringContaining('not UTF-8') },
    ]);
    const tenantId = await bench.addTenant();
    const path = await bench.file('fffd.csv', focusFile([{ ResourceId: 'M\uFFFDnch' }]));
    expect(await bench.ingest(tenantId, path)).toMatchObject({ rows: 1, errors: 0 });
  });

  it('text after a closing quote rejects its own row and not the next', async () => {
    const faults = await between(focusRow({ ResourceId: '"a"b' }));
    expect(faults).toEqual([{ line: 3, column_name: null, reason: 'text after a closing quote' }]);
  });

  it('a field of 10 MB is refused without stopping the file', async () => {
    const faults = await between(focusRow({ ServiceName: 'x'.repeat(10_000_000) }));
    expect(faults).toMatchObject([{ line: 3, column_name: 'ServiceName' }]);
  });

  it('has the right line number after quoted line breaks', async () => {
    const tenantId = await bench.addTenant();
    const rows = [{ ChargeDescription: '"a\nb\nc"' }, { BilledCost: 'x' }];
    await bench.ingest(tenantId, await bench.file('lines.csv', focusFile(rows)));
    expect(await faultsOf(tenantId)).toMatchObject([{ line: 5, column_name: 'BilledCost' }]);
  });
});

it('more than 1,000 faults are all counted and the first 1,000 kept', async () => {
  const tenantId = await bench.addTenant();
  const rows = Array.from({ length: 1234 }, () => ({ BilledCost: 'x' }));
  const path = await bench.file('faults.csv', focusFile([{}, ...rows]));
  expect(await bench.ingest(tenantId, path)).toMatchObject({ rows: 1, errors: 1234 });
  const faults = await faultsOf(tenantId);
  expect([faults.length, faults[0]?.line, faults.at(-1)?.line]).toEqual([1000, 3, 1002]);
});

it('each currency has its own exact sum', async () => {
  const tenantId = await bench.addTenant();
  const rows = [
    { BillingCurrency: 'EUR', BilledCost: '0.1' },
    { BilledCost: '0.2' },
    { BilledCost: '-1e-18' },
  ];
  const { billedCost } = await bench.ingest(tenantId, await bench.file('eur.csv', focusFile(rows)));
  expect(billedCost).toEqual([
    { currency: 'EUR', rows: 1, billedCost: '0.1' },
    { currency: 'USD', rows: 2, billedCost: '0.199999999999999999' },
  ]);
});

it('a row in an unknown currency is reported, and the others are stored', async () => {
  const tenantId = await bench.addTenant();
  const rows = [{ BillingCurrency: 'XYQ', BilledCost: '7' }, { BilledCost: '1' }];
  const result = await bench.ingest(tenantId, await bench.file('xyq.csv', focusFile(rows)));
  expect(result).toMatchObject({ rows: 1, errors: 1 });
  expect(await faultsOf(tenantId)).toEqual([
    {
      line: 2,
      column_name: 'BillingCurrency',
      reason: expect.stringContaining('"XYQ" is not a currency'),
    },
  ]);
});

it.each([
  ['FOCUS', focusFile([{}, {}, {}]), focusHeader.length],
  ['legacy CUR', curFile([{}, {}, {}]), curHeader.length],
])(
  'a %s file cut in the middle of its last row keeps the whole rows',
  async (name, text, width) => {
    const tenantId = await bench.addTenant();
    const lines = text.trimEnd().split('\n');
    const last = lines.at(-1) ?? '';
    const cut = [...lines.slice(0, -1), last.split(',').slice(0, 7).join(',')].join('\n');
    const path = await bench.file(`cut ${name}.csv`, cut);
    expect(await bench.ingest(tenantId, path)).toMatchObject({ rows: 2, errors: 1 });
    expect(await faultsOf(tenantId)).toEqual([
      { line: 4, column_name: null, reason: `7 fields where the header has ${width}` },
    ]);
  },
);

it.each([
  ['FOCUS', focusFile([{}, {}, {}])],
  ['legacy CUR', curFile([{}, {}, {}])],
])('identical lines of a %s file are separate rows', async (name, text) => {
  const tenantId = await bench.addTenant();
  const result = await bench.ingest(tenantId, await bench.file(`same ${name}.csv`, text));
  expect(result).toMatchObject({ rows: 3, errors: 0, billedCost: [{ billedCost: '3.75' }] });
});
