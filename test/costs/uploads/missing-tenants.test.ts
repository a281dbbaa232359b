/** A tenant that a newer export of many tenants no longer names keeps its rows; the operator must learn it. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ensureTenant } from '../../../src/cli/runtime/ensure-tenant.ts';
import { describeMissing } from '../../../src/costs/uploads/missing-tenants.ts';
import { uploadByTenantColumn } from '../../../src/costs/uploads/tenants.ts';
import type { SplitRequest, SplitResult } from '../../../src/costs/uploads/tenants.ts';
import { noJob, openBench } from '../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../handlers/handler-bench.ts';
import { curFile } from '../exports/aws-cur/file.ts';
import { focusFileWith } from '../exports/focus/file.ts';

let bench: HandlerBench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench.close());

type Values = Readonly<Record<string, string>>;
let files = 0;

async function ingest(text: string, more: Partial<SplitRequest> = {}): Promise<SplitResult> {
  files += 1;
  const result = await uploadByTenantColumn({
    database: bench.database,
    path: await bench.file(`${files}.csv`, text),
    column: 'SubAccountId',
    ensureTenant: async (sql, id) => {
      await ensureTenant(sql, id, { create: true });
    },
    onReady: noJob,
    ...more,
  });
  for (const { tenantId, uploadId } of result.uploads) {
    await bench.ingestUpload(tenantId, uploadId);
  }
  return result;
}

const rowsOf = (tenants: readonly string[], values: Values = {}): string =>
  focusFileWith(
    ['SubAccountId'],
    tenants.map((SubAccountId) => ({ SubAccountId, ...values })),
  );

it('is named with its rows, the bill and what to delete', async () => {
  const first = await ingest(rowsOf(['a1', 'a2', 'a1', 'a2', 'a2']));
  expect(first.missing).toEqual([]);
  const second = await ingest(rowsOf(['a1', 'a1'], { ProviderName: 'Amazon Web Services' }));
  expect(second.missing).toEqual([
    {
      tenantId: 'a2',
      deliveryId: expect.stringMatching(/^\d+$/),
      source: 'AWS/123456789012',
      billingPeriod: '2024-09-01',
      rows: 3,
    },
  ]);
  const [text = ''] = second.missing.map(describeMissing);
  expect(text).toMatch(/^tenant a2 has 3 rows of AWS\/123456789012, 2024-09-01, from an earlier/);
  const [statement = ''] = /delete from .*/.exec(text) ?? [];
  await bench.test.sql.unsafe(statement);
  expect((await ingest(rowsOf(['a1', 'a1', 'a1']))).missing).toEqual([]);
});

it('is named when it has rows of another bill only', async () => {
  const BillingAccountId = '222222222222';
  await ingest(rowsOf(['b1', 'b2'], { BillingAccountId }));
  const october = { BillingPeriodStart: '2024-10-01', BillingAccountId };
  const rows = [
    { SubAccountId: 'b1', BillingAccountId },
    { SubAccountId: 'b2', ...october },
  ];
  const { missing } = await ingest(focusFileWith(['SubAccountId'], rows));
  expect(missing).toMatchObject([{ tenantId: 'b2', billingPeriod: '2024-09-01', rows: 1 }]);
});

it('is named by the source of the operator, and in a legacy CUR', async () => {
  const options = { source: 'cur', column: 'lineItem/UsageAccountId' };
  const cur = (ids: readonly string[]): string =>
    curFile(ids.map((id) => ({ 'lineItem/UsageAccountId': id })));
  await ingest(cur(['c1', 'c2']), options);
  const { missing } = await ingest(cur(['c1']), options);
  expect(missing).toMatchObject([{ tenantId: 'c2', source: 'cur' }]);
});

it('is not looked for among tenants that were ingested alone, or of other bills', async () => {
  const BillingAccountId = '333333333333';
  const alone = await bench.addTenant();
  await bench.ingest(alone, await bench.file('alone.csv', rowsOf(['x'], { BillingAccountId })));
  await ingest(rowsOf(['d1'], { BillingAccountId: '444444444444' }));
  await ingest(rowsOf(['d2'], { BillingAccountId, BillingPeriodStart: '2024-10-01' }));
  expect((await ingest(rowsOf(['d3'], { BillingAccountId }))).missing).toEqual([]);
});
