/**
 * Splits an export of many tenants by a column into one upload per tenant, in bounded memory. Every row keeps its
 * bytes and its line number; a row that cannot be assigned to a tenant is reported.
 */
import { createHash } from 'node:crypto';
import type { Sql } from '../../db/connect.ts';
import { closeOperatorToken, openOperatorToken, tenantSql } from '../../db/tenant.ts';
import { messageOf, PurserError } from '../../errors.ts';
import type { CsvRecord } from '../exports/csv-records.ts';
import { createBillReader } from '../exports/bills.ts';
import { lineColumnName, mapColumns } from '../exports/format.ts';
import { formatNamed } from '../exports/formats.ts';
import type { RowFault } from '../exports/rows.ts';
import { printable } from '../exports/values.ts';
import { exportBytes, summariseExport } from './export-parts.ts';
import { createFileCheck, recordsOf } from './file-checks.ts';
import { TenantBills } from './missing-tenants.ts';
import type { MissingTenant } from './missing-tenants.ts';
import { maxStoredFaults } from './rows.ts';
import { openUpload } from './writer.ts';
import type { UploadWriter } from './writer.ts';
import { abandonUploads, checkSource, findSameUpload, headOf, makeReady } from './uploads.ts';
import type { UploadRequest } from './uploads.ts';

interface TenantUpload {
  readonly tenantId: string;
  readonly uploadId: string;
  readonly rows: number;
  readonly skipped: boolean;
}

export interface SplitResult {
  readonly uploads: readonly TenantUpload[];
  /** Rows assigned to a tenant, including those of skipped uploads. */
  readonly rows: number;
  /** Rows assigned to no tenant. */
  readonly errors: number;
  /** The first 1,000 of them. */
  readonly faults: readonly RowFault[];
  /** Deliveries of the same bills that this export does not replace. */
  readonly missing: readonly MissingTenant[];
  readonly fileHash: string;
  readonly byteCount: number;
}

export interface SplitRequest extends UploadRequest {
  /** The column whose value is the tenant's id, e.g. SubAccountId. */
  readonly column: string;
  /**
   * Creates the tenant or checks that it exists. A PurserError rejects the rows of that tenant, which are then
   * reported; any other error ends the upload.
   */
  readonly ensureTenant: (system: Sql, tenantId: string) => Promise<void>;
}

const maxBufferedBytes = 32 * 1024 * 1024;
const sessionTtlMs = 24 * 3_600_000;

/** The upload of one tenant. */
interface Destination {
  readonly tenantId: string;
  readonly uploadId: string;
  readonly writer: UploadWriter | null;
  readonly token: string;
  rows: number;
}

function findColumn(header: readonly (string | null)[], column: string): number {
  const names = header.map((name) => (name ?? '').trim().toLowerCase());
  const wanted = column.trim().toLowerCase();
  const position = names.indexOf(wanted);
  if (position !== -1 && names.lastIndexOf(wanted) !== position) {
    throw new PurserError(
      'wrong_columns',
      `the column ${JSON.stringify(column)} appears twice, so its rows could go to the wrong tenant; keep one`,
      { details: { class: 'fatal', column } },
    );
  }
  if (position !== -1) return position;
  throw new PurserError(
    'unknown_column',
    `the file has no column ${JSON.stringify(column)}; it has ${printable(header.join(', '), 2000)}`,
    { details: { class: 'fatal', column } },
  );
}

/**
 * Uploads an export of many tenants. Throws what `uploadFile` throws, and `unknown_column`; every
 * upload that was begun is then marked failed.
 */
export async function uploadByTenantColumn(request: SplitRequest): Promise<SplitResult> {
  const { system, tenant: pool } = request.database;
  const source = checkSource(request.source);
  const summary = await summariseExport(request.path, request);
  const position = findColumn(summary.header, request.column);
  // One tenant's rows are not the whole file, so their upload gets a hash of its own.
  const fileHash = createHash('sha256')
    .update(`${summary.fileHash} ${request.column.trim().toLowerCase()}`)
    .digest('hex');
  const destinations = new Map<string, Destination | { readonly refused: string }>();
  const open: Destination[] = [];
  const faults: RowFault[] = [];
  let errors = 0;
  let bufferedBytes = 0;
  let headerLine: Buffer | undefined;
  const billOf = createBillReader(mapColumns(formatNamed(summary.format), summary.header), source);
  const bills = new TenantBills();

  const reject = (line: number, column: string | null, reason: string): void => {
    errors += 1;
    if (faults.length < maxStoredFaults) faults.push({ line, column, reason });
  };

  const openDestination = async (tenantId: string): Promise<Destination> => {
    await request.ensureTenant(system, tenantId);
    const token = await openOperatorToken(system, tenantId, sessionTtlMs);
    const sql = tenantSql(pool, { token });
    const head = {
      ...headOf(summary, request),
      tenantId,
      source,
      fileHash,
      hasLineColumn: true,
    };
    const same = await findSameUpload(sql, head);
    const writer = same === null ? await openUpload(sql, head) : null;
    const uploadId = writer?.uploadId ?? same ?? '';
    const destination: Destination = { tenantId, uploadId, writer, token, rows: 0 };
    open.push(destination);
    if (writer !== null && headerLine !== undefined) await writer.write(headerLine);
    return destination;
  };

  const destinationOf = async (tenantId: string): Promise<Destination | { refused: string }> => {
    const known = destinations.get(tenantId);
    if (known !== undefined) return known;
    let found: Destination | { refused: string };
    try {
      found = await openDestination(tenantId);
    } catch (error) {
      if (!(error instanceof PurserError)) throw error;
      found = { refused: error.message };
    }
    destinations.set(tenantId, found);
    return found;
  };

  const take = async (record: CsvRecord): Promise<void> => {
    const broken = record.faults.find(({ field }) => field === null || field === position);
    if (broken !== undefined) return reject(record.line, null, broken.reason);
    if (record.fields.length !== summary.header.length) {
      const { length } = record.fields;
      return reject(
        record.line,
        null,
        `${length} fields where the header has ${summary.header.length}`,
      );
    }
    const tenantId = record.fields[position] ?? '';
    if (tenantId === '')
      return reject(record.line, request.column, 'no value: the row has no tenant');
    const destination = await destinationOf(tenantId);
    if ('refused' in destination) return reject(record.line, request.column, destination.refused);
    destination.rows += 1;
    const bill = billOf(record);
    if (bill !== undefined) bills.add(tenantId, bill);
    const { writer } = destination;
    if (writer === null) return undefined;
    const before = writer.bufferedBytes;
    // Quoted, because a row whose fields are all quoted has another NULL than one with an unquoted field.
    await writer.write(Buffer.concat([Buffer.from(`"${record.line}",`), record.bytes, lineEnd]));
    bufferedBytes += writer.bufferedBytes - before;
    return undefined;
  };

  const writersOf = (): UploadWriter[] => open.flatMap(({ writer }) => (writer ? [writer] : []));
  const flushAll = async (): Promise<void> => {
    for (const writer of writersOf()) await writer.flush();
    bufferedBytes = 0;
  };

  const check = createFileCheck(summary, (error) => {
    throw error;
  });
  try {
    const bytes = exportBytes(summary, request.limits, request.onProgress);
    for await (const records of recordsOf(summary, bytes)) {
      for (const record of records) {
        check(record);
        if (headerLine === undefined) {
          headerLine = Buffer.concat([Buffer.from(`${lineColumnName},`), record.bytes, lineEnd]);
        } else {
          await take(record);
        }
        if (bufferedBytes > maxBufferedBytes) await flushAll();
      }
    }
    await flushAll();
    await makeReady(system, writersOf(), request.onReady);
  } catch (error) {
    const begun = writersOf().map(({ uploadId }) => uploadId);
    await abandonUploads(system, begun, messageOf(error));
    throw error;
  } finally {
    for (const { token } of open) await closeOperatorToken(system, token);
  }
  const uploads = open.map(({ tenantId, uploadId, rows, writer }) => ({
    tenantId,
    uploadId,
    rows,
    skipped: writer === null,
  }));
  const rows = uploads.reduce((sum, upload) => sum + upload.rows, 0);
  const missing = await bills.findMissing(system);
  return { uploads, rows, errors, faults, missing, fileHash, byteCount: summary.byteCount };
}

const lineEnd = Buffer.from('\n');
