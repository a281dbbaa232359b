/**
 * Splits an export of many tenants by a column into one upload per tenant, in bounded memory. Every row keeps its
 * bytes and its line number; a row that cannot be assigned to a tenant is reported.
 */
import { createHash } from 'node:crypto';
import type { Sql, Tx } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import type { CsvRecord } from '../exports/csv-records.ts';
import { createBillReader } from '../exports/bills.ts';
import type { Bill } from '../exports/bills.ts';
import { lineColumnName, mapColumns } from '../exports/format.ts';
import { formatNamed } from '../exports/formats.ts';
import type { RowFault } from '../exports/rows.ts';
import { printable } from '../exports/values.ts';
import { Destinations } from './destinations.ts';
import { checkPending, findEarlier, readKeys, missingIn, passGate } from './earlier-exports.ts';
import { exportBytes, summariseExport, withoutLineEnd } from './export-parts.ts';
import { createFileCheck, recordsOf } from './file-checks.ts';
import { checkRepeatedCharges } from './repeated-charges.ts';
import { maxStoredFaults } from './rows.ts';
import { TenantBills } from './tenant-bills.ts';
import { checkSource, headOf, makeReady } from './uploads.ts';
import type { UploadRequest } from './uploads.ts';

interface TenantUpload {
  readonly tenantId: string;
  readonly uploadId: string;
  readonly rows: number;
  readonly skipped: boolean;
}

export interface EmptiedBill extends Bill {
  readonly tenantId: string;
  /** The upload whose ingestion removes them. */
  readonly uploadId: string;
  /** Rows of the earlier export. */
  readonly rows: number;
}

export interface SplitResult {
  readonly uploads: readonly TenantUpload[];
  /** Rows assigned to a tenant, including those of skipped uploads. */
  readonly rows: number;
  /** Rows assigned to no tenant. */
  readonly errors: number;
  /** The first 1,000 of them. */
  readonly faults: readonly RowFault[];
  /** Bills of which an earlier export had rows for a tenant and this one has none: they are removed. */
  readonly emptied: readonly EmptiedBill[];
  readonly fileHash: string;
  readonly byteCount: number;
  /** Files whose last line has no line end, and may be cut. */
  readonly withoutLineEnd: readonly string[];
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
 * Uploads an export of many tenants, which replaces earlier ones of the same bills for all their tenants, or not at
 * all. Throws what `uploadFile` throws, `unknown_column`, and when it cannot be told that it replaces them,
 * `export_parts` and `export_pending`; every upload that was begun is then marked failed.
 */
export async function uploadByTenantColumn(request: SplitRequest): Promise<SplitResult> {
  const { system } = request.database;
  const source = checkSource(request.source);
  const summary = await summariseExport(request.path, request);
  const position = findColumn(summary.header, request.column);
  // One tenant's rows are not the whole file, so their upload gets a hash of its own.
  const fileHash = createHash('sha256')
    .update(`${summary.fileHash} ${request.column.trim().toLowerCase()}`)
    .digest('hex');
  const faults: RowFault[] = [];
  let errors = 0;
  const billOf = createBillReader(mapColumns(formatNamed(summary.format), summary.header), source);
  const bills = new TenantBills();
  const destinations = new Destinations({
    database: request.database,
    head: { ...headOf(summary, request), source, fileHash, hasLineColumn: true },
    ensureTenant: (tenantId) => request.ensureTenant(system, tenantId),
  });

  const reject = (line: number, column: string | null, reason: string): void => {
    errors += 1;
    if (faults.length < maxStoredFaults) faults.push({ line, column, reason });
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
    const destination = await destinations.of(tenantId);
    if ('refused' in destination) return reject(record.line, request.column, destination.refused);
    destination.rows += 1;
    const bill = billOf(record);
    if (bill !== undefined) bills.add(tenantId, bill);
    // Quoted, because a row whose fields are all quoted has another NULL than one with an unquoted field.
    const line = Buffer.from(`"${record.line}",`);
    return destinations.write(destination, Buffer.concat([line, record.bytes, lineEnd]));
  };

  const split = async (): Promise<void> => {
    const check = createFileCheck(summary, (error) => {
      throw error;
    });
    let isHeader = true;
    const bytes = exportBytes(summary, request.limits, request.onProgress);
    for await (const records of recordsOf(summary, bytes)) {
      for (const record of records) {
        check(record);
        if (isHeader) {
          const name = Buffer.from(`${lineColumnName},`);
          destinations.header = Buffer.concat([name, record.bytes, lineEnd]);
          isHeader = false;
        } else {
          await take(record);
        }
      }
    }
  };

  /** Compares the export with the earlier ones, and begins an upload for each tenant that only these have. */
  const replaceEarlier = async (): Promise<{
    pass: (tx: Tx) => Promise<void>;
    emptied: EmptiedBill[];
  }> => {
    const keys = await readKeys(system, bills.all);
    const earlier = await findEarlier(system, keys, fileHash);
    if (request.complete !== true && earlier.length > 0) {
      checkPending(earlier);
      await checkRepeatedCharges(system, { ...request, summary, source, earlier, billOf, keys });
    }
    const emptied: EmptiedBill[] = [];
    for (const bill of missingIn(earlier, bills, keys)) {
      const { tenantId, rows } = bill;
      const { uploadId } = await destinations.ofExisting(tenantId);
      bills.empty(tenantId, bill);
      emptied.push({
        tenantId,
        uploadId,
        source: bill.source,
        billingPeriod: bill.billingPeriod,
        rows,
      });
    }
    return { pass: (tx) => passGate(tx, keys, fileHash, earlier), emptied };
  };

  let emptied: EmptiedBill[];
  try {
    await split();
    const replacement = await replaceEarlier();
    emptied = replacement.emptied;
    await destinations.flush();
    await makeReady(system, destinations.writers, request.onReady, {
      pass: replacement.pass,
      billsOf: (tenantId) => bills.of(tenantId),
    });
  } catch (error) {
    await destinations.abandon(error);
    throw error;
  } finally {
    await destinations.close();
  }
  const uploads = destinations.open
    .filter((each) => each.rows > 0)
    .map(({ tenantId, uploadId, rows, writer }) => ({
      tenantId,
      uploadId,
      rows,
      skipped: writer === null,
    }));
  const rows = uploads.reduce((sum, upload) => sum + upload.rows, 0);
  const { byteCount } = summary;
  const file = { fileHash, byteCount, withoutLineEnd: withoutLineEnd(summary) };
  return { uploads, rows, errors, faults, emptied, ...file };
}

const lineEnd = Buffer.from('\n');
