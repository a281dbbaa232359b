import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { costIngestion } from '../../src/handlers/cost-ingestion.ts';
import { uploadFile } from '../../src/costs/uploads/uploads.ts';
import { focusFile } from '../costs/exports/focus/file.ts';
import { noJob, openBench } from './handler-bench.ts';
import type { HandlerBench } from './handler-bench.ts';

let bench: HandlerBench;

beforeAll(async () => {
  bench = await openBench();
});
afterAll(async () => {
  await bench.close();
});

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

describe('a delivery', () => {
  it('is replaced as a whole by a newer file of its billing period, and only that period', async () => {
    const tenant = await bench.addTenant();
    const first = focusFile([september('1'), september('2'), october('3')]);
    await bench.ingest(tenant, await bench.file('first.csv', first));
    const second = focusFile([september('1'), september('5')]);
    const result = await bench.ingest(tenant, await bench.file('second.csv', second));
    expect(result.deliveries).toEqual([
      { source: 'AWS/123456789012', billingPeriod: '2024-09-01', rows: 2, outcome: 'replaced' },
    ]);
    expect(await costs(tenant)).toEqual(['1', '5', '3']);
  });

  it('of another payer account never replaces this one', async () => {
    const tenant = await bench.addTenant();
    await bench.ingest(tenant, await bench.file('a.csv', focusFile([september('1')])));
    const other = focusFile([{ ...september('2'), BillingAccountId: '999999999999' }]);
    await bench.ingest(tenant, await bench.file('b.csv', other));
    expect(await costs(tenant)).toEqual(['1', '2']);
  });

  it('under one --source replaces the older one, whichever account its rows have', async () => {
    const tenant = await bench.addTenant();
    await bench.ingest(tenant, await bench.file('a.csv', focusFile([september('1')])), 'payer');
    const other = focusFile([{ ...september('2'), BillingAccountId: '999999999999' }]);
    await bench.ingest(tenant, await bench.file('b.csv', other), 'payer');
    expect(await costs(tenant)).toEqual(['2']);
  });

  it('from an older upload that arrives late changes nothing and is reported as superseded', async () => {
    const tenant = await bench.addTenant();
    const { database } = bench;
    const late = await uploadFile({
      database,
      tenantId: tenant,
      path: await bench.file('late.csv', focusFile([september('1')])),
      onReady: noJob,
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
    const tenant = await bench.addTenant();
    const path = await bench.file('twice.csv', focusFile([september('1'), september('1')]));
    const { database } = bench;
    const request = { database, tenantId: tenant, path, onReady: noJob };
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

  it('repeated after a lost answer gives the same result and no second row', async () => {
    const tenant = await bench.addTenant();
    const path = await bench.file('lost.csv', focusFile([september('1')]));
    const first = await bench.ingest(tenant, path);
    const second = await bench.ingestUpload(tenant, first.uploadId);
    expect(second).toEqual(first);
    expect(await costs(tenant)).toEqual(['1']);
  });

  it('that is aborted leaves no row, and the next attempt completes it', async () => {
    const tenant = await bench.addTenant();
    const { database } = bench;
    const path = await bench.file('abort.csv', focusFile([september('1'), september('2')]));
    const { uploadId } = await uploadFile({ database, tenantId: tenant, path, onReady: noJob });
    const run = bench.run(costIngestion, tenant, {
      payload: { uploadId },
      signal: AbortSignal.abort(new Error('deadline')),
    });
    await expect(run).rejects.toThrow('deadline');
    expect(await costs(tenant)).toEqual([]);
    await bench.ingestUpload(tenant, uploadId);
    expect(await costs(tenant)).toEqual(['1', '2']);
  });

  it("of another tenant's upload is refused", async () => {
    const [owner, thief] = [await bench.addTenant(), await bench.addTenant()];
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
