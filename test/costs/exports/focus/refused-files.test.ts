import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openUpload } from '../../../../src/costs/uploads/writer.ts';
import { makeReady, uploadFile } from '../../../../src/costs/uploads/uploads.ts';
import { curFile } from '../aws-cur/file.ts';
import { focusFile, focusHeader } from './file.ts';
import { noJob, openBench } from '../../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../../handlers/handler-bench.ts';

let bench: HandlerBench;

beforeAll(async () => {
  bench = await openBench();
});
afterAll(async () => {
  await bench.close();
});

/** Writes these bytes as an upload without the checks that `uploadFile` makes first, and ingests them. */
async function ingestUnchecked(tenantId: string, content: string): Promise<unknown> {
  const fileHash = 'ab'.repeat(32);
  const uploadId = await bench.asTenant(tenantId, async (sql) => {
    const head = {
      tenantId,
      source: null,
      fileName: 'raw.csv',
      fileHash,
      format: 'focus' as const,
      hasLineColumn: false,
      parts: [],
      complete: false,
    };
    const writer = await openUpload(sql, head);
    await writer.write(Buffer.from(content));
    await writer.flush();
    await makeReady(bench.database.system, [writer], noJob);
    return writer.uploadId;
  });
  return bench.ingestUpload(tenantId, uploadId);
}

describe('a file that cannot be read', () => {
  it.each([
    ['is empty', '', 'file_empty', /the file is empty/],
    ['holds only line breaks', '\n\r\n', 'file_empty', /the file is empty/],
    ['has other columns', 'a,b\n1,2\n', 'wrong_columns', /missing ProviderName.*begins with a, b/],
    [
      'names a column twice',
      `${focusHeader.join(',')},billedcost\n`,
      'wrong_columns',
      /appears twice/,
    ],
    [
      'has the line ends of an old Mac',
      focusFile([{}, {}]).replaceAll('\n', '\r'),
      'wrong_columns',
      /lines end with a carriage return only; save the file with LF/,
    ],
    ['is UTF-16', Buffer.from(`\uFEFF${focusFile([{}])}`, 'utf16le'), 'csv_not_utf8', /UTF-16/],
    ['is cut gzip', gzipSync(focusFile([{}])).subarray(0, -12), 'gzip_truncated', /truncated/],
    [
      'is damaged gzip',
      Buffer.from([0x1f, 0x8b, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]),
      'gzip_damaged',
      /damaged/,
    ],
  ])(
    '%s: it is refused with its name before an upload exists',
    async (name, content, code, message) => {
      const tenantId = await bench.addTenant();
      const path = await bench.file(`${name.replaceAll(' ', '-')}.csv`, content);
      await expect(bench.ingest(tenantId, path)).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message),
      });
      await expect(bench.ingest(tenantId, path)).rejects.toThrow(name.replaceAll(' ', '-'));
      expect(
        await bench.test.sql`select from ingest_uploads where tenant_id = ${tenantId}`,
      ).toHaveLength(0);
    },
  );

  it('is a gzip bomb: it is refused before most of it is unpacked', async () => {
    const tenantId = await bench.addTenant();
    const header = Buffer.from(`${focusHeader.join(',')}\n`);
    const bomb = gzipSync(Buffer.concat([header, Buffer.alloc(200_000_000, '0')]));
    const path = await bench.file('bomb.csv.gz', bomb);
    await expect(bench.ingest(tenantId, path)).rejects.toMatchObject({ code: 'gzip_bomb' });
  });

  it('is larger than allowed', async () => {
    const path = await bench.file('large.csv', focusFile([{}, {}, {}]));
    const { database } = bench;
    const tenantId = await bench.addTenant();
    const request = { database, tenantId, path, limits: { maxBytes: 300 }, onReady: noJob };
    await expect(uploadFile(request)).rejects.toMatchObject({ code: 'file_too_large' });
  });

  it('does not exist', async () => {
    const tenantId = await bench.addTenant();
    await expect(bench.ingest(tenantId, '/nowhere/costs.csv')).rejects.toMatchObject({
      code: 'file_unreadable',
      message: expect.stringContaining('costs.csv'),
    });
  });

  it('ends inside a quote: the upload fails with the line where the quote opens, and stores no row', async () => {
    const tenantId = await bench.addTenant();
    const path = await bench.file('quote.csv', `${focusFile([{}, {}])}"open,1,2\n3,4`);
    await expect(bench.ingest(tenantId, path)).rejects.toMatchObject({
      code: 'csv_unterminated_quote',
      message: expect.stringContaining('line 4'),
      details: { class: 'fatal' },
    });
    const [upload] = await bench.test.sql`
      select state, failure, finished_at is not null as finished from ingest_uploads
      where tenant_id = ${tenantId}`;
    expect(upload).toMatchObject({ state: 'failed', finished: true });
    expect(upload?.['failure']).toContain('line 4');
    expect(
      await bench.test.sql`select from cost_records where tenant_id = ${tenantId}`,
    ).toHaveLength(0);
  });

  it('that reached the worker unchecked fails there too: wrong columns, empty file', async () => {
    const tenantId = await bench.addTenant();
    await expect(ingestUnchecked(tenantId, 'a,b\n1,2\n')).rejects.toMatchObject({
      code: 'wrong_columns',
      details: { class: 'fatal' },
    });
    await expect(ingestUnchecked(tenantId, '\n')).rejects.toMatchObject({ code: 'file_empty' });
  });
});

it.each([
  ['FOCUS', focusFile([])],
  ['legacy CUR', curFile([])],
])('a %s header without rows is accepted with a note', async (name, content) => {
  const tenantId = await bench.addTenant();
  const result = await bench.ingest(tenantId, await bench.file(`header ${name}.csv`, content));
  expect(result).toMatchObject({ rows: 0, errors: 0, note: 'the file has a header and no rows' });
});
