/** One bill is one delivery, however its provider, account and period are spelled. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accountOf, readKey } from '../../../../src/costs/exports/source-key.ts';
import { openBench, storedFaults } from '../../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../../handlers/handler-bench.ts';
import { curFile } from '../aws-cur/file.ts';
import { focusFile, focusFileWith } from './file.ts';

let bench: HandlerBench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench.close());

type Values = Readonly<Record<string, string>>;
const account = '011122223333';
const bill = (values: Values): string => focusFile([values, { ...values, BilledCost: '2' }]);
let files = 0;
const ingest = async (tenantId: string, text: string, source?: string) => {
  files += 1;
  return bench.ingest(tenantId, await bench.file(`${files}.csv`, text), source);
};
const storedRows = async (tenantId: string): Promise<number> => {
  const rows = await bench.test.sql`select from cost_records where tenant_id = ${tenantId}`;
  return rows.length;
};

const providers = [
  ['AWS', 'aws', 'AWS ', '\u00a0AWS', 'Aws', 'Amazon', 'amazon  web services', 'Amazon AWS'],
  ['Amazon Web Services', 'Amazon Web Services, Inc.', 'Amazon Web Services (AWS)', 'AWS'],
  ['Microsoft', 'microsoft', 'Azure', 'Microsoft Azure', 'Microsoft Corporation'],
  ['Google', 'GCP', 'Google Cloud', 'Google Cloud Platform', 'google cloud platform '],
  ['Oracle', 'OCI', 'Oracle Cloud', 'Oracle Cloud Infrastructure'],
  ['ACMECORP', 'AcmeCorp', ' ACMECORP'],
  ['Caf\u00e9', 'Cafe\u0301'],
];

describe('a newer file replaces the delivery of its bill', () => {
  it.each(providers.map((names) => [names[0], names.slice(1)] as const))(
    'when the provider is %s or %j',
    async (first, others) => {
      const tenantId = await bench.addTenant();
      const with_ = (ProviderName: string): Values => ({ ProviderName, BillingAccountId: account });
      await ingest(tenantId, bill(with_(first ?? '')));
      for (const name of others) {
        expect(await ingest(tenantId, bill(with_(`"${name}"`)))).toMatchObject({
          errors: 0,
          deliveries: [{ source: `${first}/${account}`, outcome: 'replaced', rows: 2 }],
        });
      }
      expect(await storedRows(tenantId)).toBe(2);
    },
  );

  it.each([
    ['AWS', account, [`${account} `, ` ${account}`, '0111-2222-3333', '0111 2222 3333']],
    ['Microsoft', '0a1b:2c3d_2019-05-31', ['0A1B:2C3D_2019-05-31', '0a1b:2c3d_2019-05-31\u00a0']],
  ])('when the %s account is %s or %j', async (ProviderName, first, others) => {
    const tenantId = await bench.addTenant();
    await ingest(tenantId, bill({ ProviderName, BillingAccountId: first }));
    for (const BillingAccountId of others) {
      expect(await ingest(tenantId, bill({ ProviderName, BillingAccountId }))).toMatchObject({
        deliveries: [{ source: `${ProviderName}/${first}`, outcome: 'replaced' }],
      });
    }
    expect(await storedRows(tenantId)).toBe(2);
  });

  it('when FOCUS 1.3 names the provider ServiceProviderName, and when it is a CUR', async () => {
    const tenantId = await bench.addTenant();
    await ingest(tenantId, focusFile([{}]));
    const newer = focusFileWith(
      ['ServiceProviderName'],
      [{ ProviderName: '', ServiceProviderName: 'Amazon Web Services' }],
    );
    expect((await ingest(tenantId, newer)).deliveries).toMatchObject([{ outcome: 'replaced' }]);
    const row = { 'lineItem/UsageAccountId': '', 'product/sku': '', 'lineItem/ResourceId': '' };
    const cur = curFile([{ ...row, 'product/regionCode': '' }]);
    expect((await ingest(tenantId, cur)).deliveries).toMatchObject([{ outcome: 'replaced' }]);
    expect(await storedRows(tenantId)).toBe(1);
  });

  it('within one file too: rows of two spellings are one delivery', async () => {
    const tenantId = await bench.addTenant();
    const rows = [{ ProviderName: 'AWS' }, { ProviderName: 'aws ' }, { ProviderName: 'Amazon' }];
    const { deliveries } = await ingest(tenantId, focusFile(rows));
    expect(deliveries).toMatchObject([{ rows: 3, outcome: 'added' }]);
    expect(await storedRows(tenantId)).toBe(3);
  });

  it.each([
    'Amazon Web Services/011122223333',
    'aws /0111-2222-3333',
    'AWS/11122223333',
    'AWS/011122223333 ',
  ])('that an earlier version stored as %s', async (source) => {
    const tenantId = await bench.addTenant();
    await ingest(tenantId, bill({ BillingAccountId: account }));
    await bench.test
      .sql`update cost_deliveries set source = ${source} where tenant_id = ${tenantId}`;
    const newer = `${bill({ BillingAccountId: account })}\n`;
    expect((await ingest(tenantId, newer)).deliveries).toMatchObject([{ outcome: 'replaced' }]);
    expect(await storedRows(tenantId)).toBe(2);
  });

  it('also when two spellings arrive at the same time', async () => {
    const tenantId = await bench.addTenant();
    const texts = ['Acme', 'ACME', 'acme', 'acmE'].map((ProviderName) => bill({ ProviderName }));
    await Promise.all(texts.map((text) => ingest(tenantId, text)));
    expect(await storedRows(tenantId)).toBe(2);
  });

  it('but not that of another account, provider or source', async () => {
    const tenantId = await bench.addTenant();
    await ingest(tenantId, bill({}));
    await ingest(tenantId, bill({ BillingAccountId: account }));
    await ingest(tenantId, bill({ ProviderName: 'Amazonia' }));
    await ingest(tenantId, bill({ BilledCost: '3' }), 'mine');
    expect(await storedRows(tenantId)).toBe(8);
  });
});

it.each([...new Set(providers.flat()), 'MS Azure', 'Amazon.com', 'Amazonia', 'my aws'])(
  'SQL and the reader of account ids agree whether "%s" is AWS',
  async (name) => {
    const [row] = await bench.test.sql<{ key: string }[]>`
      select purser.source_key(${`${name}/1`}) as key`;
    const provider = readKey(name);
    const account = accountOf('value' in provider ? provider.value : '', '1');
    expect('reason' in account).toBe(row?.key === 'aws/000000000001');
  },
);

describe('a row', () => {
  it.each([
    [{ BillingAccountId: '11122223333' }, 'BillingAccountId', /"11122223333" has 11 digits.*12/],
    [
      { ProviderName: 'Amazon Web Services', BillingAccountId: '1112-222' },
      'BillingAccountId',
      /7 digits/,
    ],
    [{ BillingAccountId: 'x123456789012' }, 'BillingAccountId', /"x123456789012" has other char/],
    [{ BillingAccountId: "'123456789012" }, 'BillingAccountId', /other characters than digits/],
    [{ BillingAccountId: '"=""123456789012"""' }, 'BillingAccountId', /other characters/],
    [{ BillingAccountId: '123456789012"' }, 'BillingAccountId', /a quote that has no other/],
    [
      { ProviderName: 'Acme', BillingAccountId: '4711"' },
      'BillingAccountId',
      /a quote that has no other/,
    ],
    [{ ProviderName: 'Acme"' }, 'ProviderName', /a quote that has no other/],
    [{ ServiceName: 'Sto"rage' }, 'ServiceName', /a quote that has no other/],
    [{ BillingAccountId: '" "' }, 'BillingAccountId', /only blanks/],
    [{ ProviderName: '" "' }, 'ProviderName', /only blanks/],
    [{ BillingPeriodStart: '2024-09-02' }, 'BillingPeriodStart', /"2024-09-02" is not the start/],
    [{ BillingPeriodStart: '2024-08-31' }, 'BillingPeriodStart', /not the start of a month/],
    [{ BillingPeriodStart: '2024-09-16T00:00:00Z' }, 'BillingPeriodStart', /not the start/],
  ])('with %j is refused with its line', async (values, column, reason) => {
    const tenantId = await bench.addTenant();
    expect(await ingest(tenantId, focusFile([{}, values]))).toMatchObject({ rows: 1, errors: 1 });
    expect(await storedFaults(bench, tenantId)).toEqual([
      { line: 3, column_name: column, reason: expect.stringMatching(reason) },
    ]);
  });

  it.each([
    { ProviderName: 'Oracle', BillingAccountId: '20209880' },
    { BillingAccountId: '1234567890123' },
    { BillingAccountId: '********9012' },
    { BillingAccountId: 'account-1' },
    { ProviderName: '"Joe ""X"" Cloud"' },
  ])('with %j is stored: another provider, an anonymous account', async (values) => {
    const tenantId = await bench.addTenant();
    expect(await ingest(tenantId, focusFile([values]))).toMatchObject({ rows: 1, errors: 0 });
  });
});

describe('a delivery whose charges are those of another source', () => {
  it('is stored, and the note names the other upload', async () => {
    const tenantId = await bench.addTenant();
    const first = await ingest(tenantId, bill({}));
    expect(first.note).toBeNull();
    const second = await ingest(tenantId, bill({}), 'again');
    expect(second).toMatchObject({ rows: 2, deliveries: [{ outcome: 'added' }] });
    expect(second.note).toMatch(
      new RegExp(
        `^the 2 charges of again in 2024-09-01 are those of AWS/123456789012 too \\(upload ${first.uploadId}, .*twice`,
      ),
    );
  });

  it('is not mentioned when one charge differs', async () => {
    const tenantId = await bench.addTenant();
    await ingest(tenantId, bill({}));
    const others = focusFile([{ BilledCost: '1' }, { BilledCost: '2.25' }]);
    expect((await ingest(tenantId, others, 'again')).note).toBeNull();
    expect((await ingest(tenantId, bill({ ServiceName: 'x' }), 'more')).note).toBeNull();
  });
});
