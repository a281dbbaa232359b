/**
 * Writes one upload of one tenant as compressed chunks, through a tenant session: row-level security applies to
 * operators too. Nothing reads an upload before it is ready.
 */
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { TenantSql } from '../../db/tenant.ts';
import type { FormatName } from '../exports/formats.ts';
import type { ExportPart } from './export-parts.ts';
import { chunkBytes } from './rows.ts';

const gzipAsync = promisify(gzip);
/** An export shrinks about 15 times at level 3; level 6 reaches 18 times with three times the work. */
const gzipLevel = 3;

export interface UploadHead {
  readonly tenantId: string;
  readonly source: string | null;
  readonly fileName: string;
  readonly fileHash: string;
  readonly format: FormatName;
  readonly hasLineColumn: boolean;
  readonly parts: readonly ExportPart[];
  /** Replaces an earlier delivery of whatever rows. */
  readonly complete: boolean;
}

export interface UploadWriter {
  readonly uploadId: string;
  readonly tenantId: string;
  /** Bytes in memory that are not yet in a chunk. */
  readonly bufferedBytes: number;
  readonly byteCount: number;
  readonly storedByteCount: number;
  readonly chunkCount: number;
  /** Buffers bytes; writes a chunk when enough are buffered. */
  write(bytes: Buffer): Promise<void>;
  /** Writes the buffered bytes as chunks. */
  flush(): Promise<void>;
}

/** Makes the upload's row, in state `uploading`, and a writer of its chunks. */
export async function openUpload(sql: TenantSql, head: UploadHead): Promise<UploadWriter> {
  const [upload] = await sql<{ id: string }>`
    insert into public.ingest_uploads
      (tenant_id, source, file_name, file_hash, format, has_line_column, parts, complete)
    values (${head.tenantId}, ${head.source}, ${head.fileName}, ${head.fileHash}, ${head.format},
            ${head.hasLineColumn}, ${JSON.stringify(head.parts)}::text::jsonb, ${head.complete})
    returning id`;
  if (upload === undefined) throw new Error('the upload row was not written');
  const uploadId = upload.id;
  let buffered: Buffer[] = [];
  let bufferedBytes = 0;
  let byteCount = 0;
  let storedByteCount = 0;
  let chunkCount = 0;

  const store = async (plain: Buffer): Promise<void> => {
    const bytes = await gzipAsync(plain, { level: gzipLevel });
    await sql`
      insert into public.ingest_chunks (upload_id, seq, tenant_id, bytes)
      values (${uploadId}::bigint, ${chunkCount}, ${head.tenantId}, ${bytes})`;
    chunkCount += 1;
    storedByteCount += bytes.length;
  };
  const flush = async (): Promise<void> => {
    if (bufferedBytes === 0) return;
    const plain = Buffer.concat(buffered);
    buffered = [];
    bufferedBytes = 0;
    for (let at = 0; at < plain.length; at += chunkBytes) {
      await store(plain.subarray(at, at + chunkBytes));
    }
  };
  return {
    uploadId,
    tenantId: head.tenantId,
    get bufferedBytes() {
      return bufferedBytes;
    },
    get byteCount() {
      return byteCount;
    },
    get storedByteCount() {
      return storedByteCount;
    },
    get chunkCount() {
      return chunkCount;
    },
    write: async (bytes) => {
      buffered.push(bytes);
      bufferedBytes += bytes.length;
      byteCount += bytes.length;
      if (bufferedBytes >= chunkBytes) await flush();
    },
    flush,
  };
}
