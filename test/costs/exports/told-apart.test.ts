/** A file that is not read is refused with what it is, and with what to do. */
import { existsSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openBench } from '../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../handlers/handler-bench.ts';
import { focusFile } from './focus/file.ts';

let bench: HandlerBench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench.close());

const absent = existsSync('../shared/data') ? '' : ' (skipped: ../shared/data is not here)';
const focus = focusFile([{}]);
const bytes = (hex: string, text = ''): Buffer =>
  Buffer.concat([Buffer.from(hex, 'hex'), Buffer.from(text)]);
const oci =
  'lineItem/referenceNo,lineItem/tenantId,lineItem/intervalUsageStart,product/service,cost/myCost\na,b,c,d,1\n';

async function refusalOf(name: string, content: string | Buffer): Promise<unknown> {
  const tenantId = await bench.addTenant();
  const path = await bench.file(name, content);
  const refusal: unknown = await bench.ingest(tenantId, path).catch((error: unknown) => error);
  const uploads = await bench.test.sql`select id from ingest_uploads where tenant_id = ${tenantId}`;
  expect(uploads).toHaveLength(0);
  return refusal;
}

describe('a file that is not CSV', () => {
  it.each([
    ['zip', bytes('504b0304', 'focus.csv'), /a zip archive, not CSV: unpack it/],
    [
      'xlsx',
      bytes('504b0304', '[Content_Types].xml'),
      /an Excel workbook \(\.xlsx\), not CSV: export it from its source/,
    ],
    ['xls', bytes('d0cf11e0a1b11ae1'), /an Excel workbook \(\.xls\)/],
    ['Parquet', bytes('50415231', 'x'), /a Parquet file, not CSV: choose CSV/],
    ['JSON', '{"costs": []}', /JSON, not CSV: export the costs as CSV/],
    ['JSON lines', '\uFEFF\n[{"cost": 1}]', /JSON, not CSV/],
    ['HTML', '<!DOCTYPE html><title>Sign in</title>', /an HTML or XML page/],
    ['gzip twice', gzipSync(gzipSync(focus)), /gzip inside gzip, not CSV: unpack it once/],
    [
      'ODS',
      bytes('504b0304', 'mimetypeapplication/vnd.oasis.opendocument.spreadsheet'),
      /\(\.ods\)/,
    ],
    ['an empty zip', bytes('504b0506', '\0'.repeat(18)), /a zip archive/],
    ['tar', bytes('', `a.csv${'\0'.repeat(252)}ustar`), /a tar archive, not CSV: unpack it/],
    ['zeros', Buffer.alloc(5000), /NUL bytes/],
    ['RTF', '{\\rtf1 x}', /a text document \(RTF\)/],
    ['Zstandard', bytes('28b52ffd'), /a Zstandard file/],
  ])('%s is named', async (name, content, message) => {
    expect(await refusalOf(`${name}.csv`, content)).toMatchObject({
      code: 'unsupported_file',
      message: expect.stringMatching(message),
      details: { class: 'fatal' },
    });
  });

  it.each([
    ['32 bits', Buffer.from(Array.from(focus).flatMap((c) => [c.charCodeAt(0), 0, 0, 0]))],
    ['little endian', Buffer.from(focus, 'utf16le')],
    ['big endian', Buffer.from(focus, 'utf16le').swap16()],
  ])('UTF-16 without a BOM is named, %s', async (name, content) => {
    expect(await refusalOf(`${name}.csv`, content)).toMatchObject({
      code: 'csv_not_utf8',
      message: expect.stringMatching(/^.*: the file is UTF-(16|32); export it as UTF-8$/),
    });
  });
});

describe('CSV that is written in another way', () => {
  const preamble = 'Cost report,,\nGenerated,2024-10-01,\n\n';
  it.each([
    ['semicolons', focus.replaceAll(',', ';'), /separated by semicolons: export it with commas/],
    ['tabs', focus.replaceAll(',', '\t'), /separated by tabs/],
    [
      'quoted-semicolons',
      focus
        .replaceAll('"', '')
        .replaceAll(/[^,\n]+/g, '"$&"')
        .replaceAll(',', ';'),
      /separated by semicolons/,
    ],
    ['sep', `sep=,\n${focus}`, /line 1 is "sep=,", a note to a spreadsheet: delete that line/],
    ['preamble', preamble + focus, /the column names are on line 4: delete the lines before it/],
    [
      'preamble-tabs',
      (preamble + focus).replaceAll(',', '\t'),
      /separated by tabs, and the column names are on line 4/,
    ],
  ])('%s: the fault is named', async (name, content, message) => {
    expect(await refusalOf(`${name}.csv`, content)).toMatchObject({
      code: 'wrong_columns',
      message: expect.stringMatching(message),
    });
  });
});

describe('an export of another format', () => {
  it.each([
    ['oci', oci, /an OCI cost report, which is not read: download the FOCUS report/],
    ['oci-semicolons', oci.replaceAll(',', ';'), /separated by semicolons/],
    [
      'azure',
      'SubscriptionId,Date,MeterCategory,CostInBillingCurrency\na,b,c,1\n',
      /an Azure cost details export .*"Cost and usage details \(FOCUS\)"/,
    ],
    [
      'gcp',
      'billing_account_id,service.description,usage_start_time,cost\na,b,c,1\n',
      /a Google Cloud billing export.*FOCUS view/,
    ],
    [
      'gcp-console',
      'Billing account name,Service description,SKU description,Cost\na,b,c,1\n',
      /a Google Cloud billing export/,
    ],
    [
      'dbr',
      'InvoiceID,PayerAccountId,LinkedAccountId,RecordType\na,b,c,d\n',
      /an AWS detailed billing report/,
    ],
  ])('%s is named with the export to make instead', async (name, content, message) => {
    const refusal = await refusalOf(`${name}.csv`, content);
    expect(refusal).toMatchObject({ message: expect.stringMatching(message) });
    expect(String(refusal)).not.toMatch(/missing|export it again with these columns/);
  });

  it.skipIf(absent !== '').each([
    ['azure/EA_ActualCost_Small.csv', /an Azure cost details export/],
    ['azure/EA_AmortizedCost_Small.csv', /an Azure cost details export/],
    ['gcp/gcp_export_2022-08-01_5.csv', /a Google Cloud billing export/],
  ])(`the real %s is named${absent}`, async (name, message) => {
    const path = `../shared/data/${name}`;
    await expect(bench.ingest(await bench.addTenant(), path)).rejects.toMatchObject({
      code: 'unsupported_format',
      message: expect.stringMatching(message),
    });
  });
});

describe('FOCUS of newer versions', () => {
  it.each([
    ['1.3', 'ProviderName,ServiceProviderName,HostProviderName', 'AWS,AWS Inc,AWS Host', 'AWS'],
    [
      '1.4',
      'ServiceProviderName,HostProviderName,InvoiceIssuerName',
      'Snowflake,AWS,AWS Marketplace',
      'Snowflake',
    ],
  ])('%s: the provider is read from its names', async (version, names, values, provider) => {
    const tenantId = await bench.addTenant();
    const content = focus.replace('ProviderName', names).replace('\nAWS,', `\n${values},`);
    const result = await bench.ingest(tenantId, await bench.file(`focus-${version}.csv`, content));
    expect(result).toMatchObject({ rows: 1, deliveries: [{ source: `${provider}/123456789012` }] });
    const [row] = await bench.test.sql`
      select provider_name, publisher_name from cost_records where tenant_id = ${tenantId}`;
    expect(row).toEqual({
      provider_name: provider,
      publisher_name: values.split(',')[version === '1.3' ? 1 : 0],
    });
  });
});

it('the names that a refusal quotes are printable', async () => {
  const refusal = await refusalOf('escape.csv', 'a\u001b[31m,b\u0007\n1,2\n');
  expect(refusal).toMatchObject({ message: expect.stringContaining('begins with a?[31m, b?)') });
});
