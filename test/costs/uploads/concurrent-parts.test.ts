/** Two files of one bill that are ingested at the same time are compared as if one came after the other. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { uploadFile } from '../../../src/costs/uploads/uploads.ts';
import { noJob, openBench } from '../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../handlers/handler-bench.ts';
import { eventually } from '../../jobs/job-steps.ts';
import { focusFile } from '../exports/focus/file.ts';

let bench: HandlerBench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench.close());

const resources = (ids: readonly string[]) => ids.map((ResourceId) => ({ ResourceId }));

/** Ingests both at once: each has read its file before either may deliver. */
async function ingestTogether(tenantId: string, files: readonly string[]) {
  const ids: string[] = [];
  for (const [index, text] of files.entries()) {
    const path = await bench.file(`${tenantId}-${index}.csv`, text);
    ids.push(
      (await uploadFile({ database: bench.database, tenantId, path, onReady: noJob })).uploadId,
    );
  }
  // An upload of its own, whose row no ingestion locks.
  const [other] = await bench.test.sql<{ id: string }[]>`
    insert into ingest_uploads (tenant_id, file_name, file_hash)
    values (${tenantId}, 'other.csv', ${'0'.repeat(64)}) returning id`;
  const gate = await bench.test.sql.reserve();
  await gate`begin`;
  await gate`
    insert into cost_deliveries (tenant_id, source, billing_period, file_hash, upload_id, row_count)
    values (${tenantId}, 'AWS/123456789012', '2024-09-01', ${'0'.repeat(64)}, ${other?.id ?? ''}::bigint, 0)`;
  const settled = Promise.allSettled(ids.map((id) => bench.ingestUpload(tenantId, id)));
  await eventually('both wait', async () => {
    const waiting = await bench.test.sql`
      select from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`;
    return waiting.length === 2 ? true : undefined;
  });
  await gate`rollback`;
  gate.release();
  return settled;
}

async function stored(tenantId: string): Promise<string> {
  const rows = await bench.test.sql<{ id: string }[]>`
    select resource_id as id from cost_records where tenant_id = ${tenantId} order by 1`;
  return rows.map(({ id }) => id).join('');
}

it('of two parts, the second is refused', async () => {
  const tenantId = await bench.addTenant();
  const parts = [resources(['a', 'b', 'c']), resources(['x', 'y', 'z'])];
  const results = await ingestTogether(tenantId, parts.map(focusFile));
  expect(results.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
  expect(results.find(({ status }) => status === 'rejected')).toMatchObject({
    reason: { code: 'export_parts' },
  });
  expect(['abc', 'xyz']).toContain(await stored(tenantId));
});

it('of two versions, the newer one stays', async () => {
  const tenantId = await bench.addTenant();
  const versions = [resources(['a', 'b', 'c']), resources(['a', 'b', 'z'])];
  const results = await ingestTogether(tenantId, versions.map(focusFile));
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled']);
  expect(await stored(tenantId)).toBe('abz');
});
