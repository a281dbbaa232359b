/**
 * The operator's side of ingestion: uploads a file of this machine for one tenant. An upload and its job become
 * visible together, or not at all.
 */
import type { Fragment, Sql, Tx } from '../../db/connect.ts';
import { lockTimeout, runBatch } from '../../db/row-faults.ts';
import type { SweepStatementOptions } from '../../db/row-faults.ts';
import { closeOperatorToken, openOperatorToken, tenantSql } from '../../db/tenant.ts';
import type { TenantPool, TenantSql } from '../../db/tenant.ts';
import { messageOf, UsageError } from '../../errors.ts';
import { nameFault } from '../../names.ts';
import type { FormatChoice } from '../exports/formats.ts';
import { exportBytes, summariseExport, withoutLineEnd } from './export-parts.ts';
import type { ExportSummary } from './export-parts.ts';
import type { FileLimits } from './source-file.ts';
import type { DecidedBill } from './tenant-bills.ts';
import { openUpload } from './writer.ts';
import type { UploadHead, UploadWriter } from './writer.ts';

/** The two pools of `openDatabase`. */
interface UploadDatabase {
  readonly system: Sql;
  readonly tenant: TenantPool;
}

export interface ReadyUpload {
  readonly tenantId: string;
  readonly uploadId: string;
}

export interface UploadRequest {
  readonly database: UploadDatabase;
  /** One file, or the files of one export. */
  readonly path: string | readonly string[];
  /** The operator's name for the origin of the file; without it the source is `<provider>/<billing account>`. */
  readonly source?: string | undefined;
  readonly limits?: FileLimits | undefined;
  /** Default `auto`: detected from the header. */
  readonly format?: FormatChoice | undefined;
  /** The export replaces an earlier one, although its name or rows look like those of a part. Default false. */
  readonly complete?: boolean | undefined;
  /** Runs in the transaction that makes the upload ready: enqueue its cost_ingestion here. */
  readonly onReady: (tx: Tx, upload: ReadyUpload) => Promise<unknown>;
  /** Called with the uncompressed bytes read so far, and those of the whole file. */
  readonly onProgress?: ((readBytes: number, totalBytes: number) => void) | undefined;
}

export interface UploadResult {
  readonly uploadId: string;
  /** True when the tenant's newest upload of this source is this file: nothing was written. */
  readonly skipped: boolean;
  readonly fileHash: string;
  readonly byteCount: number;
  /** Files whose last line has no line end, and may be cut. */
  readonly withoutLineEnd: readonly string[];
}

const sessionTtlMs = 24 * 3_600_000;

/** The source as it is stored. Throws `usage` for one that is not allowed. */
export function checkSource(source: string | undefined): string | null {
  if (source === undefined) return null;
  const fault = nameFault('source', source);
  if (fault !== undefined) throw new UsageError(fault);
  return source;
}

/** What an upload's row says of the export. */
export function headOf(
  { fileName, format, parts }: ExportSummary,
  { complete = false }: Pick<UploadRequest, 'complete'>,
): Omit<UploadHead, 'tenantId' | 'source' | 'fileHash'> {
  return { fileName, format, parts, complete, hasLineColumn: false };
}

/** Runs `fn` in an operator's session for the tenant. Throws `unknown_tenant`. */
async function withOperatorSession<T>(
  { system, tenant }: UploadDatabase,
  tenantId: string,
  fn: (sql: TenantSql) => Promise<T>,
): Promise<T> {
  const token = await openOperatorToken(system, tenantId, sessionTtlMs);
  try {
    return await fn(tenantSql(tenant, { token }));
  } finally {
    await closeOperatorToken(system, token);
  }
}

/** The dedup key of the job that ingests an upload. */
export const ingestionKey = (uploadId: string): string => `upload:${uploadId}`;

/**
 * The tenant's newest upload of this source, if it is this file. One whose ingestion ended without it (cancelled, a
 * dead letter) does not count, and a new upload replaces it. Nor does one whose rows were deleted.
 */
export async function findSameUpload(sql: TenantSql, head: UploadHead): Promise<string | null> {
  const { tenantId, source, fileHash } = head;
  const [newest] = await sql<{ id: string; state: string; rows: number; isOpen: boolean }>`
    select id, state, row_count::int as rows,
           purser.is_job_open('cost_ingestion', ${ingestionKey('')} || id) as "isOpen"
    from (
      select * from public.ingest_uploads
      where tenant_id = ${tenantId} and source is not distinct from ${source}::text
        and state in ('ready', 'ingested')
      order by id desc limit 1
    ) newest where file_hash = ${fileHash}`;
  if (newest === undefined) return null;
  if (newest.state === 'ready') return newest.isOpen ? newest.id : null;
  // A delivery keeps the first upload of the file that made it.
  const [stored] = await sql<{ rows: number }>`
    select count(*)::int as rows
    from public.ingest_uploads u
    join public.cost_deliveries d on d.upload_id = u.id and d.file_hash = u.file_hash
    join public.cost_records r on r.delivery_id = d.id
    where u.tenant_id = ${tenantId} and d.tenant_id = ${tenantId} and r.tenant_id = ${tenantId}
      and u.file_hash = ${fileHash} and u.source is not distinct from ${source}::text`;
  return stored?.rows === newest.rows ? newest.id : null;
}

interface SplitUploads {
  /** Runs first in the transaction. */
  readonly pass: (tx: Tx) => Promise<void>;
  /** The bills that the export decides for a tenant. */
  readonly billsOf: (tenantId: string) => readonly DecidedBill[];
}

/** Makes uploads, of one tenant or of an export of many, ready and runs `onReady` for each, all in one transaction. */
export async function makeReady(
  system: Sql,
  writers: readonly UploadWriter[],
  onReady: UploadRequest['onReady'],
  split?: SplitUploads,
): Promise<void> {
  await system.begin(async (tx) => {
    await split?.pass(tx);
    for (const { uploadId, tenantId, byteCount, storedByteCount, chunkCount } of writers) {
      const bills = split === undefined ? null : JSON.stringify(split.billsOf(tenantId));
      await tx`
        update public.ingest_uploads
        set state = 'ready', byte_count = ${byteCount}, stored_byte_count = ${storedByteCount},
            chunk_count = ${chunkCount}, bills = ${bills}::text::jsonb
        where id = ${uploadId}::bigint and state = 'uploading'`;
      await onReady(tx, { tenantId, uploadId });
    }
  });
}

/** Marks uploads that were not completed as failed, and deletes their chunks. */
export async function abandonUploads(
  system: Sql,
  uploadIds: readonly string[],
  failure: string,
): Promise<void> {
  await system`
    with abandoned as (
      update public.ingest_uploads set state = 'failed', failure = ${failure}, finished_at = now()
      where id = any(${[...uploadIds]}::bigint[]) and state = 'uploading' returning id
    )
    delete from public.ingest_chunks where upload_id in (select id from abandoned)`;
}

/**
 * Uploads an export (plain or gzip) for one tenant. Throws what `summariseExport` and `exportBytes` throw, and
 * `unknown_tenant`; an upload that was started is then marked failed.
 */
export async function uploadFile(
  request: UploadRequest & { readonly tenantId: string },
): Promise<UploadResult> {
  const { database, tenantId } = request;
  const source = checkSource(request.source);
  const summary = await summariseExport(request.path, request);
  const { fileHash, byteCount } = summary;
  const file = { fileHash, byteCount, withoutLineEnd: withoutLineEnd(summary) };
  const head: UploadHead = { ...headOf(summary, request), tenantId, source, fileHash };
  return withOperatorSession(database, tenantId, async (sql) => {
    const same = await findSameUpload(sql, head);
    if (same !== null) return { uploadId: same, skipped: true, ...file };
    const writer = await openUpload(sql, head);
    try {
      const { limits, onProgress } = request;
      for await (const bytes of exportBytes(summary, limits, onProgress)) await writer.write(bytes);
      await writer.flush();
      await makeReady(database.system, [writer], request.onReady);
    } catch (error) {
      await abandonUploads(database.system, [writer.uploadId], messageOf(error));
      throw error;
    }
    return { uploadId: writer.uploadId, skipped: false, ...file };
  });
}

const staleAfterMs = 24 * 3_600_000;

/** Deletes uploads that were started more than a day ago and not completed. Returns their number. */
export async function removeStaleUploads(
  system: Sql,
  { offsetMs = 0, onRowFault }: SweepStatementOptions = {},
): Promise<number> {
  const stale = system`
    state = 'uploading' and created_at < now() + ${offsetMs - staleAfterMs} * interval '1 millisecond'`;
  const list = await system<{ id: string }[]>`
    select id from public.ingest_uploads where ${stale} order by random() limit 500`;
  return runBatch({
    run: (ids) => deleteUploads(system, stale, ids ?? list.map(({ id }) => id)),
    list: () => Promise.resolve(list.map(({ id }) => id)),
    onRowFault,
  });
}

/** Rows locked by a tenant are skipped; its chunks, which go with them, are waited for briefly. */
async function deleteUploads(
  system: Sql,
  stale: Fragment,
  ids: readonly string[],
): Promise<number> {
  const removed = await system`
    with ${lockTimeout(system, 200)}, unlocked as materialized (
      select id from public.ingest_uploads
      where exists (select from lock_timeout) and id = any(${[...ids]}::bigint[]) and ${stale}
      order by id for update skip locked
    )
    delete from public.ingest_uploads u using unlocked l where u.id = l.id`;
  return removed.count;
}
