/**
 * Ingests a ready upload inside the transaction of its job: reads, checks and stages it chunk by chunk, moves the rows
 * into their deliveries, and stores the report.
 */
import type { Tx } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import type { CsvRecord } from '../exports/csv-records.ts';
import {
  createStaging,
  deliver,
  lockDeliveries,
  stageRows,
  sumStaged,
} from '../exports/delivery.ts';
import type { CurrencySum, DeliveryOutcome } from '../exports/delivery.ts';
import { lineColumnName, mapColumns } from '../exports/format.ts';
import { formatNamed } from '../exports/formats.ts';
import { findMovedCharges } from '../exports/moved-charges.ts';
import { checkReplacement } from '../exports/replacement.ts';
import { findSameCharges } from '../exports/same-charges.ts';
import { createRowReader } from '../exports/rows.ts';
import type { RowFault, RowReading } from '../exports/rows.ts';
import { createFileCheck, recordsOf } from './file-checks.ts';
import type { IngestionReport } from './report.ts';
import { endUpload, lockUpload, readChunks, storeFaults } from './rows.ts';
import type { Upload } from './rows.ts';

/** The job's result, also stored with the upload. Sums are exact decimal strings over the stored rows. */
export interface IngestionResult {
  readonly uploadId: string;
  readonly fileName: string;
  readonly rows: number;
  /** Rows that were rejected. */
  readonly errors: number;
  /** Stored rows with an optional value that cannot be read and was left out. */
  readonly warnings: number;
  readonly billedCost: readonly CurrencySum[];
  readonly deliveries: readonly DeliveryOutcome[];
  readonly note: string | null;
}

export interface Ingestion {
  readonly tenantId: string;
  readonly signal: AbortSignal;
  readonly report: IngestionReport;
}

/** Maximum deliveries that a result names. */
const maxReportedDeliveries = 100;

function fatal(code: string, message: string): PurserError {
  return new PurserError(code, message, { details: { class: 'fatal' } });
}

function readerFor(header: CsvRecord, upload: Upload): (record: CsvRecord) => RowReading {
  const names = header.fields;
  if (upload.hasLineColumn && names[0] !== lineColumnName) {
    throw fatal('upload_damaged', `upload ${upload.id}: its first column is not ${lineColumnName}`);
  }
  const { source, hasLineColumn } = upload;
  const columns = mapColumns(formatNamed(upload.format), names);
  return createRowReader({ columns, source, hasLineColumn });
}

/** A fault of an export in several files also names the file and its line. */
function inPart({ parts }: Upload, fault: RowFault): RowFault {
  const part = parts.findLast(({ firstLine }) => firstLine <= fault.line);
  if (part === undefined) return fault;
  const line = fault.line - part.firstLine + part.ownLine;
  return { ...fault, reason: `${part.fileName}, line ${line}: ${fault.reason}` };
}

/** Reads, checks and stages chunk by chunk on one connection. Returns the number of rows staged. */
async function stageFile(tx: Tx, upload: Upload, { report, signal }: Ingestion): Promise<number> {
  let read: ((record: CsvRecord) => RowReading) | undefined;
  let rows = 0;
  let formatted: PurserError | undefined;
  // The records of one tenant of many were checked when the file was split.
  const check = upload.hasLineColumn
    ? undefined
    : createFileCheck(upload, (error) => {
        formatted = error;
      });
  for await (const records of recordsOf(upload, readChunks(tx, upload))) {
    signal.throwIfAborted();
    let copyLines = '';
    for (const record of records) {
      check?.(record);
      if (read === undefined) {
        read = readerFor(record, upload);
        continue;
      }
      const reading = read(record);
      if ('fault' in reading) {
        report.rejected.add(inPart(upload, reading.fault));
        continue;
      }
      if (reading.warning !== undefined) report.warnings.add(inPart(upload, reading.warning));
      copyLines += reading.copyLine;
      rows += 1;
    }
    if (copyLines !== '') await stageRows(tx, copyLines);
  }
  if (read === undefined) {
    throw fatal('file_empty', `${upload.fileName} is empty; an export has a header line`);
  }
  // Without a row that seems right, the reasons of all rows say more.
  if (formatted !== undefined && rows > 0) throw formatted;
  return rows;
}

/** Throws fatal errors of a file that cannot be read at all; the transaction must then be rolled back. */
export async function ingestUpload(
  tx: Tx,
  upload: Upload,
  ingestion: Ingestion,
): Promise<IngestionResult> {
  const { tenantId, report } = ingestion;
  const { rejected, warnings } = report;
  await createStaging(tx);
  const rows = await stageFile(tx, upload, ingestion);
  const [first] = rejected.kept;
  if (rows === 0 && first !== undefined) {
    const where = first.column === null ? '' : `, ${first.column}`;
    throw fatal(
      'no_valid_row',
      `none of the ${rejected.count} rows of ${upload.fileName} can be read; ` +
        `the first is line ${first.line}${where}: ${first.reason}`,
    );
  }
  const billedCost = await sumStaged(tx);
  const { id: uploadId, fileHash, fileName, bills } = upload;
  const emptied = (bills ?? []).filter((bill) => bill.rows === 0);
  const delivered = { tenantId, uploadId, fileHash, emptied };
  const file = { fileName, isSplit: bills !== null };
  const added = await lockDeliveries(tx, delivered);
  const shrunk = upload.complete ? [] : await checkReplacement(tx, file, delivered);
  const deliveries = await deliver(tx, delivered, added);
  const same = await findSameCharges(tx, delivered);
  const moved = await findMovedCharges(tx, delivered);
  const result: IngestionResult = {
    uploadId,
    fileName,
    rows,
    errors: rejected.count,
    warnings: warnings.count,
    billedCost,
    deliveries: deliveries.slice(0, maxReportedDeliveries),
    note: report.note({ uploadId, rows, deliveries, same, moved, shrunk }),
  };
  const superseded =
    deliveries.length > 0 && deliveries.every(({ outcome }) => outcome === 'superseded');
  await storeFaults(tx, tenantId, uploadId, report.stored);
  await endUpload(tx, {
    uploadId,
    state: superseded ? 'superseded' : 'ingested',
    rows,
    errors: rejected.count,
    failure: null,
    result,
  });
  return result;
}

/** Marks a ready upload as failed, after the transaction of its ingestion was rolled back. */
export async function recordFailure(
  tx: Tx,
  uploadId: string,
  failure: string,
  { tenantId, report }: Ingestion,
): Promise<void> {
  const upload = await lockUpload(tx, uploadId);
  if (upload.state !== 'ready') return;
  await storeFaults(tx, tenantId, uploadId, report.stored);
  await endUpload(tx, {
    uploadId,
    state: 'failed',
    rows: 0,
    errors: report.rejected.count,
    failure,
    result: null,
  });
}
