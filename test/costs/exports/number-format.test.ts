/** One amount in another number format proves the format of the file: no amount of it is stored. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { numberFormatFault } from '../../../src/costs/exports/number-format.ts';
import { uploadByTenantColumn } from '../../../src/costs/uploads/tenants.ts';
import { noJob, openBench, storedFaults } from '../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../handlers/handler-bench.ts';
import { curFile } from './aws-cur/file.ts';
import { focusFile, focusFileWith } from './focus/file.ts';

let bench: HandlerBench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench.close());

describe('an amount written like', () => {
  it.each([
    ['12,5', /a decimal comma/],
    ['-0,25', /a decimal comma/],
    [',5', /a decimal comma/],
    ['1,5E+3', /a decimal comma/],
    ['1.234,56', /a decimal comma/],
    ['1.234.567,8', /a decimal comma/],
    ['1 234,56', /a decimal comma/],
    ["1'234.56", /separators/],
    ['1,234', /separators/],
    ['1,234.56', /separators/],
    ['12,34,567.00', /separators/],
    ['1\u202f234', /separators/],
    ['1.234.567', /separators/],
    ['(12.00)', /parentheses/],
    ['$12.00', /a currency sign/],
    ['-$12.00', /a currency sign/],
    ['12 €', /a currency sign/],
    ['1.234,56 EUR', /a decimal comma/],
    ['CHF 1,234.00', /separators/],
    ['12.00-', /a sign/],
    ['\u221212.00', /a sign/],
  ])('%s is of another number format', (text, fault) => {
    expect(numberFormatFault(text)).toMatch(fault);
  });

  it.each([
    '1.234',
    '-12.50',
    '+.5',
    '4e-10',
    '1e400',
    '',
    ' ',
    ' 12.5 ',
    '0x10',
    'NaN',
    'abc',
    '1.2.3',
    'NULL',
    '-Infinity',
    '2024-09-01',
    '12 apples',
    '1.25 EUR',
    'USD',
    'ABC 12',
    ',',
    'a,b',
    'v1,2',
    'Fee',
    '-',
  ])('"%s" proves nothing', (text) => {
    expect(numberFormatFault(text)).toBeUndefined();
  });
});

const refused = (column: string) => ({
  code: 'number_format',
  message: expect.stringMatching(
    new RegExp(
      `^f\\.csv: line 4, ${column}: the amount has .*export it with amounts like -1234\\.56`,
      'i',
    ),
  ),
  details: { class: 'fatal', line: 4, column },
});

describe('a file with such an amount', () => {
  it.each(['BilledCost', 'EffectiveCost', 'ConsumedQuantity'])(
    'in %s is refused with its line, and none of its rows is stored',
    async (column) => {
      const tenantId = await bench.addTenant();
      const text = focusFile([{ [column]: '1.234' }, {}, { [column]: '"12,5"' }, {}]);
      const path = await bench.file('f.csv', text);
      await expect(bench.ingest(tenantId, path)).rejects.toMatchObject(refused(column));
      expect(
        await bench.test.sql`select from cost_records where tenant_id = ${tenantId}`,
      ).toHaveLength(0);
    },
  );

  it.each(['ListUnitPrice', 'PricingQuantity', 'x_EffectiveRate'])(
    'in %s, which is not stored, is refused for its decimal comma',
    async (column) => {
      const tenantId = await bench.addTenant();
      const rows = ['0.0456', '', '"0,0456"'].map((text) => ({ [column]: text }));
      const path = await bench.file('f.csv', focusFileWith([column], rows));
      await expect(bench.ingest(tenantId, path)).rejects.toMatchObject(refused(column));
      expect(
        await bench.test.sql`select from cost_records where tenant_id = ${tenantId}`,
      ).toHaveLength(0);
    },
  );

  it('in a row that has another fault too is refused', async () => {
    const tenantId = await bench.addTenant();
    const text = focusFile([{}, {}, { BilledCost: '"1.234,56"', ChargePeriodStart: '01.09.2024' }]);
    const path = await bench.file('f.csv', text);
    await expect(bench.ingest(tenantId, path)).rejects.toMatchObject(refused('BilledCost'));
  });

  it.each(['lineItem/UnblendedCost', 'reservation/EffectiveCost'])(
    'in %s of a legacy CUR is refused',
    async (column) => {
      const tenantId = await bench.addTenant();
      const path = await bench.file('f.csv', curFile([{}, {}, { [column]: '"12,5"' }]));
      await expect(bench.ingest(tenantId, path)).rejects.toMatchObject(refused(column));
    },
  );

  it('is refused for every tenant, also for those whose rows look right', async () => {
    const tenantId = await bench.addTenant();
    const rows = [tenantId, tenantId, `${tenantId}-2`].map((SubAccountId, index) => ({
      SubAccountId,
      BilledCost: index === 2 ? '"12,5"' : '1.234',
    }));
    const request = {
      database: bench.database,
      path: await bench.file('f.csv', focusFileWith(['SubAccountId'], rows)),
      column: 'SubAccountId',
      ensureTenant: async (_: unknown, id: string) => {
        await bench.addTenant(id);
      },
      onReady: noJob,
    };
    await expect(uploadByTenantColumn(request)).rejects.toMatchObject(refused('BilledCost'));
    expect(
      await bench.test
        .sql`select from ingest_uploads where tenant_id = ${tenantId} and state <> 'failed'`,
    ).toHaveLength(0);
  });

  it('that has a comma only in another column, or a text that is no number, is read', async () => {
    const tenantId = await bench.addTenant();
    const text = focusFileWith(
      ['ListUnitPrice', 'resourceTags/user:rate', 'RateCard'],
      [
        { ChargeDescription: '"12,5"', ListUnitPrice: '"1,234"', RateCard: '"12,5"' },
        { BilledCost: 'abc', 'resourceTags/user:rate': '"12,5"', ListUnitPrice: '"a,b"' },
        { ListUnitPrice: '$12' },
      ],
    );
    expect(await bench.ingest(tenantId, await bench.file('f.csv', text))).toMatchObject({
      rows: 2,
      errors: 1,
    });
    expect(await storedFaults(bench, tenantId)).toMatchObject([
      { line: 3, column_name: 'BilledCost' },
    ]);
  });
});
