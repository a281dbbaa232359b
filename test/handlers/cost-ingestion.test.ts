import { readFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { costIngestion } from '../../src/handlers/cost-ingestion.ts';
import { uploadFile } from '../../src/handlers/uploads.ts';
import { focusFile, focusHeader, focusRow } from './focus-file.ts';
import { openBench } from './handler-bench.ts';
import type { HandlerBench } from './handler-bench.ts';

const sample = '../shared/data/focus/focus_1.0_dev.csv';
const examples = '../shared/data/focus_spec_examples';
const absent = existsSync(sample) ? '' : ` (skipped: ${sample} is not here)`;

/** Adds decimals exactly, with nothing of what is under test. */
function exactSum(decimals: readonly string[]): string {
  const scale = 30;
  const units = decimals.map((text) => {
    const [mantissa = '', exponent = '0'] = text.toLowerCase().split('e');
    const [whole = '', fraction = ''] = mantissa.split('.');
    const shift = scale - fraction.length + Number(exponent);
    return BigInt(whole + fraction) * 10n ** BigInt(shift);
  });
  const sum = units.reduce((total, unit) => total + unit, 0n);
  const sign = sum < 0n ? '-' : '';
  const digits = (sum < 0n ? -sum : sum).toString().padStart(scale + 1, '0');
  const fraction = digits.slice(-scale).replace(/0+$/, '');
  return `${sign}${digits.slice(0, -scale)}${fraction === '' ? '' : `.${fraction}`}`;
}

let bench: HandlerBench;
let tenants = 0;

async function newTenant(): Promise<string> {
  tenants += 1;
  const id = `tenant-${tenants}`;
  await bench.addTenant(id);
  return id;
}

beforeAll(async () => {
  bench = await openBench();
});
afterAll(async () => {
  await bench.close();
});

describe('the real FOCUS sample', () => {
  it.skipIf(absent !== '')(`keeps all 589 rows and their exact sum${absent}`, async () => {
    const tenant = await newTenant();
    const rows: Record<string, string>[] = parse(await readFile(sample), { columns: true });
    expect(rows).toHaveLength(589);
    const result = await bench.ingest(tenant, sample);
    const billedCost = exactSum(rows.map((row) => row['BilledCost'] ?? ''));
    expect(billedCost).toBe('20.15098394973');
    expect(result).toMatchObject({
      rows: 589,
      errors: 0,
      billedCost: [{ currency: 'USD', rows: 589, billedCost }],
    });
    const [stored] = await bench.test.sql`
      select count(*)::int as rows, trim_scale(sum(billed_cost))::text as cost,
             trim_scale(sum(list_cost))::text as list, count(distinct sub_account_id)::int as accounts,
             count(distinct charge_frequency)::int as frequencies,
             count(*) filter (where resource_id is null)::int as without_resource
      from cost_records where tenant_id = ${tenant}`;
    expect(stored).toEqual({
      rows: 589,
      cost: billedCost,
      list: exactSum(rows.map((row) => row['ListCost'] ?? '0')),
      accounts: 44,
      frequencies: 1,
      without_resource: rows.filter((row) => row['ResourceId'] === 'NULL').length,
    });
  });

  it.skipIf(absent !== '')(`names rows by provider and billing account${absent}`, async () => {
    const tenant = await newTenant();
    const { deliveries } = await bench.ingest(tenant, sample);
    expect(deliveries.map(({ source, rows }) => [source, rows])).toEqual([
      ['AWS/1234567890123', 556],
      [expect.stringMatching(/^Microsoft\/\/providers\/Microsoft.Billing/), 30],
      ['Oracle/20209880', 3],
    ]);
  });

  it.skipIf(absent !== '')(
    `reads it gzipped, and the same file plain afterwards adds nothing${absent}`,
    async () => {
      const tenant = await newTenant();
      const zipped = await bench.file('sample.csv.gz', gzipSync(await readFile(sample)));
      expect(await bench.ingest(tenant, zipped)).toMatchObject({ rows: 589, errors: 0 });
      const onReady = (): Promise<void> => Promise.reject(new Error('nothing becomes ready'));
      const { database } = bench;
      const again = await uploadFile({ database, tenantId: tenant, path: sample, onReady });
      expect(again.skipped).toBe(true);
    },
  );

  it.skipIf(absent !== '')(
    `refuses the specification's fragments by the names of their missing columns${absent}`,
    async () => {
      const tenant = await newTenant();
      const path = `${examples}/commitment_discount_scenarios/commitment_discount_usage_scenario_1.csv`;
      await expect(bench.ingest(tenant, path)).rejects.toMatchObject({
        code: 'focus_wrong_columns',
        details: { class: 'fatal' },
        message: expect.stringContaining(
          'missing ProviderName, BillingAccountId, ServiceName, BillingCurrency',
        ),
      });
    },
  );

  it.skipIf(absent !== '')(
    `refuses amounts and dates as a spreadsheet shows them, by line and column${absent}`,
    async () => {
      const tenant = await newTenant();
      const path = `${examples}/saas_examples/simple_agreements/simple_saas_agreements_c.csv`;
      await expect(bench.ingest(tenant, path)).rejects.toMatchObject({
        code: 'focus_no_valid_row',
        message: expect.stringMatching(
          /none of the 3 rows .* line 2, ChargePeriodStart: "4\/1\/25"/,
        ),
      });
      const stored = await bench.test.sql`
        select line::int, column_name, reason from ingest_errors where tenant_id = ${tenant} order by line`;
      expect(stored).toHaveLength(3);
      expect(stored[2]).toMatchObject({ line: 4, column_name: 'ChargePeriodStart' });
      const [upload] = await bench.test.sql`
        select state, error_count::int as errors, failure,
               (select count(*)::int from ingest_chunks c where c.upload_id = u.id) as chunks
        from ingest_uploads u where tenant_id = ${tenant}`;
      expect(upload).toMatchObject({ state: 'failed', errors: 3, chunks: 0 });
      expect(upload?.['failure']).toContain('none of the 3 rows');
    },
  );
});

describe('a delivery', () => {
  const september = (cost: string) => ({ BilledCost: cost });
  const october = (cost: string) => ({
    BilledCost: cost,
    BillingPeriodStart: '2024-10-01',
    ChargePeriodStart: '2024-10-02',
    ChargePeriodEnd: '2024-10-03',
  });
  const costs = async (tenant: string): Promise<string[]> => {
    const rows = await bench.test.sql<{ cost: string }[]>`
      select billed_cost::text as cost from cost_records
      where tenant_id = ${tenant} order by charge_period_start, billed_cost`;
    return rows.map(({ cost }) => cost);
  };

  it('is replaced whole by a newer file of its billing period, and only that period', async () => {
    const tenant = await newTenant();
    const first = focusFile([september('1'), september('2'), october('3')]);
    await bench.ingest(tenant, await bench.file('first.csv', first));
    const second = focusFile([september('5')]);
    const result = await bench.ingest(tenant, await bench.file('second.csv', second));
    expect(result.deliveries).toEqual([
      { source: 'AWS/123456789012', billingPeriod: '2024-09-01', rows: 1, outcome: 'replaced' },
    ]);
    expect(await costs(tenant)).toEqual(['5', '3']);
  });

  it('of another payer account never replaces this one', async () => {
    const tenant = await newTenant();
    await bench.ingest(tenant, await bench.file('a.csv', focusFile([september('1')])));
    const other = focusFile([{ ...september('2'), BillingAccountId: '999999999999' }]);
    await bench.ingest(tenant, await bench.file('b.csv', other));
    expect(await costs(tenant)).toEqual(['1', '2']);
  });

  it('under one --source replaces whatever account its rows name', async () => {
    const tenant = await newTenant();
    await bench.ingest(tenant, await bench.file('a.csv', focusFile([september('1')])), 'payer');
    const other = focusFile([{ ...september('2'), BillingAccountId: '999999999999' }]);
    await bench.ingest(tenant, await bench.file('b.csv', other), 'payer');
    expect(await costs(tenant)).toEqual(['2']);
  });

  it('from an older upload that arrives late changes nothing and is said to be superseded', async () => {
    const tenant = await newTenant();
    const { database } = bench;
    const onReady = (): Promise<void> => Promise.resolve();
    const late = await uploadFile({
      database,
      tenantId: tenant,
      path: await bench.file('late.csv', focusFile([september('1')])),
      onReady,
    });
    await bench.ingest(tenant, await bench.file('newer.csv', focusFile([september('2')])));
    const result = await bench.ingestUpload(tenant, late.uploadId);
    expect(result.deliveries[0]?.outcome).toBe('superseded');
    expect(result.note).toContain('newer uploads');
    expect(await costs(tenant)).toEqual(['2']);
    const [upload] = await bench.test.sql`
      select state from ingest_uploads where id = ${late.uploadId}`;
    expect(upload).toEqual({ state: 'superseded' });
  });

  it('of the same file through a second upload adds nothing', async () => {
    const tenant = await newTenant();
    const path = await bench.file('twice.csv', focusFile([september('1'), september('1')]));
    const { database } = bench;
    const onReady = (): Promise<void> => Promise.resolve();
    const request = { database, tenantId: tenant, path, onReady };
    const first = await uploadFile(request);
    await bench.test.sql`
      update ingest_uploads set created_at = now() - interval '2 hours' where id = ${first.uploadId}`;
    const second = await uploadFile(request);
    expect(second).toMatchObject({ skipped: false });
    const results = await Promise.all(
      [first, second].map(({ uploadId }) => bench.ingestUpload(tenant, uploadId)),
    );
    const outcomes = results.flatMap(({ deliveries }) => deliveries.map(({ outcome }) => outcome));
    expect(outcomes).toContain('added');
    expect(outcomes).not.toContain('replaced');
    expect(await costs(tenant)).toEqual(['1', '1']);
  });

  it('repeated after its answer was lost gives the same result and no second row', async () => {
    const tenant = await newTenant();
    const path = await bench.file('lost.csv', focusFile([september('1')]));
    const first = await bench.ingest(tenant, path);
    const second = await bench.ingestUpload(tenant, first.uploadId);
    expect(second).toEqual(first);
    expect(await costs(tenant)).toEqual(['1']);
  });

  it('that is aborted in the middle leaves no row, and the next attempt finishes it', async () => {
    const tenant = await newTenant();
    const { database } = bench;
    const path = await bench.file('abort.csv', focusFile([september('1'), september('2')]));
    const onReady = (): Promise<void> => Promise.resolve();
    const { uploadId } = await uploadFile({ database, tenantId: tenant, path, onReady });
    const run = bench.run(costIngestion, tenant, {
      payload: { uploadId },
      signal: AbortSignal.abort(new Error('deadline')),
    });
    await expect(run).rejects.toThrow('deadline');
    expect(await costs(tenant)).toEqual([]);
    await bench.ingestUpload(tenant, uploadId);
    expect(await costs(tenant)).toEqual(['1', '2']);
  });

  it('is refused to a tenant that names the upload of another', async () => {
    const [owner, thief] = [await newTenant(), await newTenant()];
    const { uploadId } = await bench.ingest(
      owner,
      await bench.file('mine.csv', focusFile([september('1')])),
    );
    await expect(bench.ingestUpload(thief, uploadId)).rejects.toMatchObject({
      code: 'unknown_upload',
      details: { class: 'fatal' },
    });
  });
});

describe('a file that is odd but right', () => {
  const one = async (content: string | Buffer): Promise<Record<string, unknown>> => {
    const tenant = await newTenant();
    const result = await bench.ingest(tenant, await bench.file(`${tenant}.csv`, content));
    expect(result).toMatchObject({ rows: 1, errors: 0 });
    const [row] = await bench.test.sql`select * from cost_records where tenant_id = ${tenant}`;
    return { ...row };
  };

  it('tells an unquoted NULL from a quoted "NULL" and an empty field', async () => {
    expect(await one(focusFile([{ ResourceId: 'NULL' }]))).toMatchObject({ resource_id: null });
    expect(await one(focusFile([{ ResourceId: '"NULL"' }]))).toMatchObject({ resource_id: 'NULL' });
    expect(await one(focusFile([{ ResourceId: '""' }]))).toMatchObject({ resource_id: null });
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

  it('reads a last line without its line end', async () => {
    expect(await one(focusFile([{}]).trimEnd())).toMatchObject({ billed_cost: '1.25' });
  });

  it('writes tabs and backslashes as they are', async () => {
    const row = await one(focusFile([{ ResourceId: '\\N', ChargeDescription: 'C:\\new\ttab' }]));
    expect(row).toMatchObject({ resource_id: '\\N', charge_description: 'C:\\new\ttab' });
  });

  it('brings the spelling of vocabulary words together', async () => {
    expect(await one(focusFile([{ ChargeFrequency: 'Usage-based' }]))).toMatchObject({
      charge_frequency: 'Usage-Based',
    });
  });

  it.each([
    ['"{""env"": ""prod"", ""org"": ""t"", "" org"": ""t""}"', { env: 'prod', org: 't' }],
    ['"{""org"": ""a"", "" org"": ""b""}"', { org: 'a', ' org': 'b' }],
    ['"{""__proto__"": ""x""}"', JSON.parse('{"__proto__": "x"}')],
    ['"""env"": ""prod"""', { env: 'prod' }],
    ['""', {}],
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

  it('has columns in any order, of other versions, and of a provider', async () => {
    const header = [...focusHeader.toReversed(), 'x_Discount', 'ServiceSubcategory', 'InvoiceId'];
    const values = [...focusRow().split(',').toReversed(), '1', 'Object Storage', 'i-1'];
    expect(await one(`${header.join(',')}\n${values.join(',')}\n`)).toMatchObject({
      billed_cost: '1.25',
      provider_name: 'AWS',
    });
  });
});
