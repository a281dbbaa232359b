import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { uploadByTenantColumn } from '../../../../src/costs/uploads/tenants.ts';
import { uploadFile } from '../../../../src/costs/uploads/uploads.ts';
import { exactSum } from '../exact-sum.ts';
import { noJob, openBench } from '../../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../../handlers/handler-bench.ts';

const sample = '../shared/data/focus/focus_1.0_dev.csv';
const examples = '../shared/data/focus_spec_examples';
const absent = existsSync(sample) ? '' : ` (skipped: ${sample} is not here)`;

let bench: HandlerBench;

beforeAll(async () => {
  bench = await openBench();
});
afterAll(async () => {
  await bench.close();
});

describe('the real FOCUS sample', () => {
  it.skipIf(absent !== '')(`keeps all 589 rows and their exact sum${absent}`, async () => {
    const tenant = await bench.addTenant();
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

  it.skipIf(absent !== '')(
    `gives 44 tenants their rows, each with its exact sum${absent}`,
    async () => {
      const rows: Record<string, string>[] = parse(await readFile(sample), { columns: true });
      const { uploads, errors } = await uploadByTenantColumn({
        database: bench.database,
        path: sample,
        column: 'SubAccountId',
        ensureTenant: async (_sql, id) => {
          await bench.addTenant(id);
        },
        onReady: noJob,
      });
      expect([uploads.length, errors]).toEqual([44, 0]);
      for (const { tenantId, uploadId } of uploads) {
        const own = rows.filter((row) => row['SubAccountId'] === tenantId);
        const billedCost = exactSum(own.map((row) => row['BilledCost'] ?? ''));
        expect(await bench.ingestUpload(tenantId, uploadId)).toMatchObject({
          rows: own.length,
          billedCost: [{ currency: 'USD', rows: own.length, billedCost }],
        });
      }
    },
  );

  it.skipIf(absent !== '')(`gives the same rows when every field is quoted${absent}`, async () => {
    const records: string[][] = parse(await readFile(sample));
    const quoted = records.map((fields) => fields.map((text) => `"${text.replaceAll('"', '""')}"`));
    const path = await bench.file(
      'quoted.csv',
      quoted.map((fields) => fields.join(',')).join('\n'),
    );
    const [plain, all] = [await bench.addTenant(), await bench.addTenant()];
    await bench.ingest(plain, sample);
    expect(await bench.ingest(all, path)).toMatchObject({ rows: 589, errors: 0, warnings: 0 });
    const [different] = await bench.test.sql`
      select count(*)::int as rows from cost_records a join cost_records b on b.line = a.line
      where a.tenant_id = ${plain} and b.tenant_id = ${all}
        and to_jsonb(a) - '{id,tenant_id,delivery_id}'::text[]
          is distinct from to_jsonb(b) - '{id,tenant_id,delivery_id}'::text[]`;
    expect(different).toEqual({ rows: 0 });
  });

  it.skipIf(absent !== '')(`names rows by provider and billing account${absent}`, async () => {
    const tenant = await bench.addTenant();
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
      const tenant = await bench.addTenant();
      const zipped = await bench.file('sample.csv.gz', gzipSync(await readFile(sample)));
      expect(await bench.ingest(tenant, zipped)).toMatchObject({ rows: 589, errors: 0 });
      const { database } = bench;
      const request = { database, tenantId: tenant, path: sample, onReady: noJob };
      const again = await uploadFile(request);
      expect(again.skipped).toBe(true);
    },
  );

  it.skipIf(absent !== '')(
    `refuses the specification's fragments by the names of their missing columns${absent}`,
    async () => {
      const tenant = await bench.addTenant();
      const path = `${examples}/commitment_discount_scenarios/commitment_discount_usage_scenario_1.csv`;
      await expect(bench.ingest(tenant, path)).rejects.toMatchObject({
        code: 'wrong_columns',
        details: { class: 'fatal' },
        message: expect.stringContaining(
          'missing ProviderName or ServiceProviderName or HostProviderName, BillingAccountId, ServiceName, BillingCurrency',
        ),
      });
    },
  );

  it.skipIf(absent !== '')(
    `refuses amounts and dates as a spreadsheet shows them, by line and column${absent}`,
    async () => {
      const tenant = await bench.addTenant();
      const path = `${examples}/saas_examples/simple_agreements/simple_saas_agreements_c.csv`;
      await expect(bench.ingest(tenant, path)).rejects.toMatchObject({
        code: 'no_valid_row',
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
