/** Rows that somebody has deleted by hand come back with their file. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { enqueueIngestion } from '../../../src/cli/commands/ingest.ts';
import { uploadFile } from '../../../src/costs/uploads/uploads.ts';
import type { UploadResult } from '../../../src/costs/uploads/uploads.ts';
import { noJob, openBench } from '../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../handlers/handler-bench.ts';
import { focusFile } from '../exports/focus/file.ts';
import { ingestSplit, newBill, splitFile } from './split.ts';

let bench: HandlerBench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench.close());

const rows = ['a', 'b', 'c'].map((ResourceId) => ({ ResourceId }));

async function count(tenantId: string): Promise<number> {
  const [row] = await bench.test.sql<{ rows: number }[]>`
    select count(*)::int as rows from cost_records where tenant_id = ${tenantId}`;
  return row?.rows ?? 0;
}

it.each([
  ['all rows', 'true'],
  ['some rows', 'line = 2'],
])('after %s of a delivery were deleted, its file is ingested again', async (_, deleted) => {
  const tenantId = await bench.addTenant();
  const path = await bench.file(`${deleted}.csv`, focusFile(rows));
  const again = (): Promise<UploadResult> =>
    uploadFile({ database: bench.database, tenantId, path, onReady: noJob });
  await bench.ingest(tenantId, path);
  expect(await again()).toMatchObject({ skipped: true });
  await bench.test.sql`
    delete from cost_records where tenant_id = ${tenantId} and ${bench.test.sql.unsafe(deleted)}`;
  const { uploadId, skipped } = await again();
  expect(skipped).toBe(false);
  expect(await bench.ingestUpload(tenantId, uploadId)).toMatchObject({
    deliveries: [{ outcome: 'replaced' }],
    note: null,
  });
  expect(await count(tenantId)).toBe(3);
  expect(await again()).toMatchObject({ skipped: true });
});

it('after its ingestion was cancelled, a file is uploaded again', async () => {
  const tenantId = await bench.addTenant();
  const path = await bench.file('cancelled.csv', focusFile(rows));
  const again = (): Promise<UploadResult> =>
    uploadFile({ database: bench.database, tenantId, path, onReady: enqueueIngestion });
  const first = await again();
  expect(await again()).toEqual({ ...first, skipped: true });
  await bench.test.sql`
    select purser.cancel_job(id, 'operator', 'oops') from background_jobs where tenant_id = ${tenantId}`;
  expect(await again()).toMatchObject({ skipped: false });
});

it('a delivery of one of two sources that have the same file', async () => {
  const tenantId = await bench.addTenant();
  const path = await bench.file('two.csv', focusFile(rows));
  await bench.ingest(tenantId, path, 'one');
  const { note } = await bench.ingest(tenantId, path, 'two');
  const [statement = ''] =
    /delete from cost_records where delivery_id = \d+/.exec(note ?? '') ?? [];
  await bench.test.sql.unsafe(statement);
  await bench.ingest(tenantId, path, 'one');
  expect(await count(tenantId)).toBe(3);
  await bench.ingest(tenantId, path, 'two');
  expect(await count(tenantId)).toBe(6);
});

it('of a tenant in an export of many', async () => {
  const file = newBill();
  const path = await bench.file(
    'split.csv',
    file([...rows, { SubAccountId: 't2' }].map((row) => ({ SubAccountId: 't1', ...row }))),
  );
  await ingestSplit(bench, await splitFile(bench, path));
  await bench.test.sql`delete from cost_records where tenant_id = 't1'`;
  const again = await splitFile(bench, path);
  expect(again.uploads.map(({ tenantId, skipped }) => [tenantId, skipped])).toEqual([
    ['t1', false],
    ['t2', true],
  ]);
  await ingestSplit(bench, again);
  expect(await count('t1')).toBe(3);
});
