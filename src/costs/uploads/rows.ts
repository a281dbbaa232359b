/**
 * An upload as its ingestion reads and ends it: its state, its chunks one at a time, its error report.
 */
import { gunzip } from 'node:zlib';
import { promisify } from 'node:util';
import type { Tx } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import type { RowFault } from '../exports/rows.ts';
import type { ExportPart } from './export-parts.ts';
import type { DecidedBill } from './tenant-bills.ts';

const gunzipAsync = promisify(gunzip);

/** Uncompressed bytes of one chunk; an ingestion holds one chunk at a time in memory. */
export const chunkBytes = 1024 * 1024;
/** A chunk that unpacks to more was not written by `openUpload`. */
const maxChunkBytes = 40 * 1024 * 1024;
/** Maximum faults stored per upload; their count is exact. */
export const maxStoredFaults = 1000;

type UploadState = 'uploading' | 'ready' | 'ingested' | 'failed' | 'superseded';

export interface Upload {
  readonly id: string;
  readonly source: string | null;
  readonly fileName: string;
  readonly fileHash: string;
  /** Name of a CostFormat. */
  readonly format: string;
  readonly hasLineColumn: boolean;
  readonly parts: readonly ExportPart[];
  readonly complete: boolean;
  /** Of an export of many tenants. */
  readonly bills: readonly DecidedBill[] | null;
  readonly state: UploadState;
  readonly failure: string | null;
  readonly byteCount: string;
  readonly result: unknown;
}

/** The upload, locked until the transaction ends, so that two attempts run one after the other. */
export async function lockUpload(tx: Tx, uploadId: string): Promise<Upload> {
  const [upload] = await tx<Upload[]>`
    select id, source, file_name as "fileName", file_hash as "fileHash", format,
           has_line_column as "hasLineColumn", parts, complete, bills, state, failure, byte_count as "byteCount", result
    from public.ingest_uploads where id = ${uploadId}::bigint for update`;
  if (upload === undefined) {
    throw new PurserError('unknown_upload', `this tenant has no upload ${uploadId}`, {
      details: { class: 'fatal', uploadId },
    });
  }
  return upload;
}

/**
 * The upload's uncompressed bytes in order; a chunk is read when the one before has been consumed. Throws PurserError
 * `upload_damaged` (fatal) when a chunk is missing or does not unpack.
 */
export async function* readChunks(tx: Tx, upload: Upload): AsyncGenerator<Buffer, void, undefined> {
  const damaged = (what: string, cause?: unknown): PurserError =>
    new PurserError('upload_damaged', `upload ${upload.id}: ${what}; upload the file again`, {
      details: { class: 'fatal', uploadId: upload.id },
      ...(cause === undefined ? {} : { cause }),
    });
  let bytes = 0n;
  for (let seq = 0; ; seq += 1) {
    const [chunk] = await tx<{ bytes: Buffer }[]>`
      select bytes from public.ingest_chunks where upload_id = ${upload.id}::bigint and seq = ${seq}`;
    if (chunk === undefined) break;
    const plain = await gunzipAsync(chunk.bytes, { maxOutputLength: maxChunkBytes }).catch(
      (error: unknown) => {
        throw damaged(`chunk ${seq} does not unpack`, error);
      },
    );
    bytes += BigInt(plain.length);
    yield plain;
  }
  if (bytes !== BigInt(upload.byteCount)) {
    throw damaged(`${bytes} of ${upload.byteCount} bytes are stored`);
  }
}

export async function storeFaults(
  tx: Tx,
  tenantId: string,
  uploadId: string,
  faults: readonly RowFault[],
): Promise<void> {
  if (faults.length === 0) return;
  await tx`
    insert into public.ingest_errors (upload_id, line, tenant_id, column_name, reason)
    select ${uploadId}::bigint, line, ${tenantId}, column_name, reason
    from unnest(${faults.map(({ line }) => line)}::bigint[],
                ${faults.map(({ column }) => column)}::text[],
                ${faults.map(({ reason }) => reason)}::text[]) as f (line, column_name, reason)
    on conflict do nothing`;
}

export interface UploadEnd {
  readonly uploadId: string;
  readonly state: 'ingested' | 'superseded' | 'failed';
  readonly rows: number;
  readonly errors: number;
  readonly failure: string | null;
  readonly result: object | null;
}

/** Writes how the upload ended, and deletes its chunks. */
export async function endUpload(tx: Tx, end: UploadEnd): Promise<void> {
  await tx`
    update public.ingest_uploads
    set state = ${end.state}, row_count = ${end.rows}, error_count = ${end.errors},
        failure = ${end.failure}, finished_at = now(),
        result = ${end.result === null ? null : JSON.stringify(end.result)}::text::jsonb
    where id = ${end.uploadId}::bigint`;
  await tx`delete from public.ingest_chunks where upload_id = ${end.uploadId}::bigint`;
}
