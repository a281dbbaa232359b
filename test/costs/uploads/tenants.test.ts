import { ensureTenant } from '../../../src/cli/runtime/ensure-tenant.ts';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { Tx } from '../../../src/db/connect.ts';
import { PurserError } from '../../../src/errors.ts';
import type { SplitRequest, SplitResult } from '../../../src/costs/uploads/tenants.ts';
import { removeStaleUploads, uploadFile } from '../../../src/costs/uploads/uploads.ts';
import type { ReadyUpload } from '../../../src/costs/uploads/uploads.ts';
import { noJob, openBench } from '../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../handlers/handler-bench.ts';
import { focusHeader, focusRow } from '../exports/focus/file.ts';
import { ingestSplit, splitFile } from './split.ts';

let bench: HandlerBench;

beforeAll(async () => {
  bench = await openBench();
});
afterAll(async () => {
  await bench.close();
});

/** Each test has a bill of its own. */
let account = 100_000_000_000;
beforeEach(() => {
  account += 1;
});

/** Rows of `tenant:cost`, with the tenant in a column of its own at the end. */
function fileOf(rows: readonly string[]): string {
  const lines = rows.map((row) => {
    const [tenant = '', cost = ''] = row.split(':');
    return `${focusRow({ BilledCost: cost, BillingAccountId: String(account) })},${tenant}`;
  });
  return `${focusHeader.join(',')},SubAccountId\n${lines.join('\n')}\n`;
}

const split = (path: string, more: Partial<SplitRequest> = {}): Promise<SplitResult> =>
  splitFile(bench, path, more);

function costsOf(tenantId: string): Promise<{ line: number; cost: string }[]> {
  return bench.test.sql<{ line: number; cost: string }[]>`
    select line::int, billed_cost::text as cost from cost_records
    where tenant_id = ${tenantId} order by line`.then((rows) => [...rows]);
}

it('gives each tenant its rows, with the lines of the original file', async () => {
  const path = await bench.file('split.csv', fileOf(['a1:1', 'b1:2', 'a1:3', '"b1":4']));
  const { uploads, rows, errors } = await split(path);
  expect({ rows, errors, tenants: uploads.map(({ tenantId }) => tenantId) }).toEqual({
    rows: 4,
    errors: 0,
    tenants: ['a1', 'b1'],
  });
  for (const { tenantId, uploadId } of uploads) await bench.ingestUpload(tenantId, uploadId);
  expect(await costsOf('a1')).toEqual([
    { line: 2, cost: '1' },
    { line: 4, cost: '3' },
  ]);
  expect(await costsOf('b1')).toEqual([
    { line: 3, cost: '2' },
    { line: 5, cost: '4' },
  ]);
});

it('keeps what a row without unquoted fields means: its quoted NULL is no value', async () => {
  const row = focusRow({ EffectiveCost: 'NULL', ResourceId: 'NULL', Tags: 'NULL' });
  const quoted = [...row.replaceAll('"', '').split(','), 'q1'].map((field) => `"${field}"`);
  const path = await bench.file('quoted.csv', `${fileOf([])}${quoted.join(',')}\n`);
  const { uploads } = await split(path);
  const [upload] = uploads;
  expect(await bench.ingestUpload('q1', upload?.uploadId ?? '')).toMatchObject({
    rows: 1,
    errors: 0,
    warnings: 0,
  });
  const [stored] = await bench.test.sql`
    select effective_cost, resource_id, tags::text from cost_records where tenant_id = 'q1'`;
  expect(stored).toEqual({ effective_cost: null, resource_id: null, tags: '{}' });
});

it('refuses a column that the file has twice', async () => {
  const path = await bench.file('twice.csv', fileOf(['a9:1']).replace('ResourceId', 'x_T,X_t '));
  await expect(split(path, { column: ' x_t' })).rejects.toMatchObject({
    code: 'wrong_columns',
    message: expect.stringContaining('appears twice'),
    details: { class: 'fatal' },
  });
});

it('reports faults by the line of the original file', async () => {
  const path = await bench.file('fault.csv', fileOf(['a2:1', 'b2:2', 'a2:x']));
  const { uploads } = await split(path);
  const upload = uploads.find(({ tenantId }) => tenantId === 'a2');
  expect(await bench.ingestUpload('a2', upload?.uploadId ?? '')).toMatchObject({
    rows: 1,
    errors: 1,
  });
  const [fault] = await bench.test.sql`select line::int from ingest_errors where tenant_id = 'a2'`;
  expect(fault).toEqual({ line: 4 });
});

it('reports every rejected row: without tenant, of a refused tenant, with a wrong number of fields', async () => {
  const rows = fileOf(['a3:1', ':2', 'NULL:3', 'refused:4', `${'x'.repeat(201)}:5`]);
  const path = await bench.file('lost.csv', `${rows}only,three,fields\n`);
  const result = await split(path, {
    ensureTenant: async (sql, id) => {
      if (id === 'refused') throw new PurserError('unknown_tenant', 'no tenant "refused"');
      await ensureTenant(sql, id, { create: true });
    },
  });
  expect(result).toMatchObject({ rows: 1, errors: 5 });
  expect(result.faults).toEqual([
    { line: 3, column: 'SubAccountId', reason: 'no value: the row has no tenant' },
    { line: 4, column: 'SubAccountId', reason: 'no value: the row has no tenant' },
    { line: 5, column: 'SubAccountId', reason: 'no tenant "refused"' },
    {
      line: 6,
      column: 'SubAccountId',
      reason: expect.stringContaining('is longer than 200 characters'),
    },
    { line: 7, column: null, reason: expect.stringContaining('3 fields') },
  ]);
});

it('rejects rows of a tenant whose id a spreadsheet has changed', async () => {
  const path = await bench.file(
    'mangled.csv',
    fileOf(['1.23457E+12:1', 'ok-1:2', '"1,2E+11":3', '#REF!:4']),
  );
  const result = await split(path);
  expect(result).toMatchObject({ rows: 1, errors: 3, uploads: [{ tenantId: 'ok-1' }] });
  expect(result.faults[0]).toEqual({
    line: 2,
    column: 'SubAccountId',
    reason: expect.stringMatching(
      /^the tenant id "1.23457E\+12" is an id that a spreadsheet has changed/,
    ),
  });
});

it('accepts tenant ids with quotes, spaces and emoji', async () => {
  const odd = `o'brien "x" 🚀`;
  const path = await bench.file('odd.csv', fileOf([`"${odd.replaceAll('"', '""')}":7`]));
  const { uploads } = await split(path);
  await bench.ingestUpload(odd, uploads[0]?.uploadId ?? '');
  expect(await costsOf(odd)).toEqual([{ line: 2, cost: '7' }]);
});

it('makes the uploads of all tenants ready in one transaction, with their jobs', async () => {
  const path = await bench.file('atomic.csv', fileOf(['a4:1', 'b4:2']));
  const seen: ReadyUpload[] = [];
  const onReady = (tx: Tx, upload: ReadyUpload): Promise<void> => {
    seen.push(upload);
    expect(tx).toBeDefined();
    return seen.length === 2 ? Promise.reject(new Error('no job')) : Promise.resolve();
  };
  await expect(split(path, { onReady })).rejects.toThrow('no job');
  expect(seen.map(({ tenantId }) => tenantId)).toEqual(['a4', 'b4']);
  const uploads = await bench.test.sql`
    select u.state, u.failure, count(c.*)::int as chunks
    from ingest_uploads u left join ingest_chunks c on c.upload_id = u.id
    where u.tenant_id in ('a4', 'b4') group by u.id`;
  expect([...uploads]).toEqual([
    { state: 'failed', failure: 'no job', chunks: 0 },
    { state: 'failed', failure: 'no job', chunks: 0 },
  ]);
  const again = await split(path);
  expect(again.uploads.map(({ skipped }) => skipped)).toEqual([false, false]);
});

it('skips each tenant whose newest upload is its part of this file', async () => {
  const skipped = ({ uploads }: SplitResult): Record<string, boolean> =>
    Object.fromEntries(uploads.map((upload) => [upload.tenantId, upload.skipped]));
  const ingest = async (path: string): Promise<SplitResult> => {
    const result = await split(path);
    await ingestSplit(bench, result);
    return result;
  };
  const path = await bench.file('again.csv', fileOf(['a5:1', 'b5:2']));
  await ingest(path);
  expect(skipped(await ingest(path))).toEqual({ a5: true, b5: true });
  await ingest(await bench.file('newer.csv', fileOf(['a5:9'])));
  expect(skipped(await ingest(path))).toEqual({ a5: false, b5: false });
  expect([await costsOf('a5'), await costsOf('b5')]).toEqual([
    [{ line: 2, cost: '1' }],
    [{ line: 3, cost: '2' }],
  ]);
});

it("does not confuse the whole file of a tenant with the tenant's part of it", async () => {
  const path = await bench.file('whole.csv', fileOf(['a6:1', 'b6:2']));
  await bench.addTenant('a6');
  await bench.ingest('a6', path);
  const { uploads } = await split(path);
  const upload = uploads.find(({ tenantId }) => tenantId === 'a6');
  expect(upload?.skipped).toBe(false);
  await bench.ingestUpload('a6', upload?.uploadId ?? '');
  expect(await costsOf('a6')).toEqual([{ line: 2, cost: '1' }]);
});

it('lists the columns of the file when the tenant column is not among them', async () => {
  const path = await bench.file('column.csv', fileOf(['a7:1']));
  await expect(split(path, { column: 'Tenant' })).rejects.toMatchObject({
    code: 'unknown_column',
    message: expect.stringMatching(/no column "Tenant"; it has ProviderName, .*SubAccountId/),
  });
});

it.each(['', 'a\nb', 'x'.repeat(201)])(
  'refuses the source %j before it reads the file',
  async (source) => {
    const path = '/nowhere/file.csv';
    await expect(split(path, { source })).rejects.toMatchObject({ code: 'usage', exitCode: 64 });
    const request = { database: bench.database, tenantId: 'nobody', path, source, onReady: noJob };
    await expect(uploadFile(request)).rejects.toMatchObject({ code: 'usage' });
  },
);

it('closes every session that it opened', async () => {
  await split(await bench.file('sessions.csv', fileOf(['a8:1', 'b8:2'])));
  expect(await bench.test.sql`select from purser.operator_tokens`).toHaveLength(0);
});

it('an unknown tenant is refused with the command that adds it', async () => {
  const path = await bench.file('unknown.csv', fileOf(['a9:1']));
  const request = { database: bench.database, tenantId: 'nobody', path, onReady: noJob };
  await expect(uploadFile(request)).rejects.toMatchObject({
    code: 'unknown_tenant',
    message: expect.stringContaining('purser tenants add'),
  });
});

it('uploads that were not completed are removed after a day, with their chunks', async () => {
  const tenantId = await bench.addTenant();
  const [upload] = await bench.test.sql<{ id: string }[]>`
    insert into ingest_uploads (tenant_id, file_name, file_hash)
    values (${tenantId}, 'begun.csv', ${'0'.repeat(64)}) returning id`;
  await bench.test.sql`
    insert into ingest_chunks (upload_id, seq, tenant_id, bytes)
    values (${upload?.id ?? ''}::bigint, 0, ${tenantId}, 'x')`;
  expect(await removeStaleUploads(bench.test.sql, { offsetMs: 23 * 3_600_000 })).toBe(0);
  expect(await removeStaleUploads(bench.test.sql, { offsetMs: 25 * 3_600_000 })).toBe(1);
  expect(
    await bench.test.sql`select from ingest_chunks where tenant_id = ${tenantId}`,
  ).toHaveLength(0);
});
