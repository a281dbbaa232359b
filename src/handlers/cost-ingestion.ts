/**
 * `cost_ingestion`: turns an uploaded export into cost rows, in one transaction and in bounded memory at any size.
 * Ingesting a file twice adds nothing; a row with a fault is reported and the others are stored.
 */
import { z } from 'zod';
import type { Tx } from '../db/connect.ts';
import { messageOf, PurserError } from '../errors.ts';
import { defineHandler } from './define.ts';
import type { JobContext } from './define.ts';
import type { CsvRecord } from '../costs/exports/csv-records.ts';
import { csvRecords } from '../costs/exports/csv-records.ts';
import { createStaging, deliver, stageRows, sumStaged } from '../costs/exports/delivery.ts';
import type { CurrencySum, DeliveryOutcome } from '../costs/exports/delivery.ts';
import { lineColumnName, mapColumns } from '../costs/exports/format.ts';
import { formatNamed } from '../costs/exports/formats.ts';
import { createRowReader } from '../costs/exports/rows.ts';
import type { RowFault, RowReading } from '../costs/exports/rows.ts';
import { done, snooze } from './outcome.ts';
import {
  endUpload,
  lockUpload,
  maxStoredFaults,
  readChunks,
  storeFaults,
} from '../costs/uploads/rows.ts';
import type { Upload } from '../costs/uploads/rows.ts';

const payload = z.object({ uploadId: z.string().regex(/^\d{1,18}$/) });

/** The job's result, also kept with the upload. Sums are exact decimal strings over the stored rows. */
export interface IngestionResult {
  readonly uploadId: string;
  readonly fileName: string;
  readonly rows: number;
  readonly errors: number;
  readonly billedCost: readonly CurrencySum[];
  readonly deliveries: readonly DeliveryOutcome[];
  readonly note: string | null;
}

/** Maximum deliveries that a result names. */
const maxReportedDeliveries = 100;

/** Faults of one file: all are counted, the first ones kept. */
class FaultList {
  readonly kept: RowFault[] = [];
  count = 0;

  add(fault: RowFault): void {
    this.count += 1;
    if (this.kept.length < maxStoredFaults) this.kept.push(fault);
  }
}

function fatal(code: string, message: string, details: object = {}): PurserError {
  return new PurserError(code, message, { details: { class: 'fatal', ...details } });
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

/** Reads, checks and stages chunk by chunk on one connection. Returns the number of rows staged. */
async function stageFile(
  tx: Tx,
  upload: Upload,
  faults: FaultList,
  signal: AbortSignal,
): Promise<number> {
  let read: ((record: CsvRecord) => RowReading) | undefined;
  let rows = 0;
  for await (const records of csvRecords(readChunks(tx, upload))) {
    signal.throwIfAborted();
    let copyLines = '';
    for (const record of records) {
      if (read === undefined) {
        read = readerFor(record, upload);
        continue;
      }
      const reading = read(record);
      if ('fault' in reading) {
        faults.add(reading.fault);
      } else {
        copyLines += reading.copyLine;
        rows += 1;
      }
    }
    if (copyLines !== '') await stageRows(tx, copyLines);
  }
  if (read === undefined) {
    throw fatal('file_empty', `${upload.fileName} is empty; an export has a header line`);
  }
  return rows;
}

function noteFor(
  rows: number,
  deliveries: readonly DeliveryOutcome[],
  faults: FaultList,
  uploadId: string,
): string | null {
  if (faults.count > 0) return describeRejectedRows(faults, uploadId);
  if (rows === 0) return 'the file has a header and no rows';
  if (deliveries.every(({ outcome }) => outcome === 'unchanged')) {
    return 'this file was ingested before; nothing to add';
  }
  if (deliveries.every(({ outcome }) => outcome === 'superseded')) {
    return 'newer uploads replaced these billing periods; nothing to add';
  }
  return null;
}

/** Without the reason, which may quote a value: those stay in the tenant's own table. */
function describeRejectedRows({ kept, count }: FaultList, uploadId: string): string {
  const where = [`line ${kept[0]?.line}`, kept[0]?.column ?? 'the whole row'].join(', ');
  return (
    `${count} ${count === 1 ? 'row was' : 'rows were'} left out, the first at ${where}; ` +
    `why: select line, column_name, reason from ingest_errors where upload_id = ${uploadId}`
  );
}

async function ingestReady(
  tx: Tx,
  ctx: JobContext<unknown>,
  upload: Upload,
  faults: FaultList,
): Promise<IngestionResult> {
  await createStaging(tx);
  const rows = await stageFile(tx, upload, faults, ctx.signal);
  const first = faults.kept[0];
  if (rows === 0 && first !== undefined) {
    const where = first.column === null ? '' : `, ${first.column}`;
    throw fatal(
      'no_valid_row',
      `none of the ${faults.count} rows of ${upload.fileName} can be read; ` +
        `the first is line ${first.line}${where}: ${first.reason}`,
    );
  }
  const billedCost = await sumStaged(tx);
  const { tenantId } = ctx;
  const deliveries = await deliver(tx, {
    tenantId,
    uploadId: upload.id,
    fileHash: upload.fileHash,
  });
  const result: IngestionResult = {
    uploadId: upload.id,
    fileName: upload.fileName,
    rows,
    errors: faults.count,
    billedCost,
    deliveries: deliveries.slice(0, maxReportedDeliveries),
    note: noteFor(rows, deliveries, faults, upload.id),
  };
  const superseded =
    deliveries.length > 0 && deliveries.every(({ outcome }) => outcome === 'superseded');
  await storeFaults(tx, tenantId, upload.id, faults.kept);
  await endUpload(tx, {
    uploadId: upload.id,
    state: superseded ? 'superseded' : 'ingested',
    rows,
    errors: faults.count,
    failure: null,
    result,
  });
  return result;
}

/** The transaction of the ingestion has been rolled back; this one stores the reason for the operator. */
async function recordFailure(
  ctx: JobContext<unknown>,
  uploadId: string,
  faults: FaultList,
  failure: string,
): Promise<void> {
  await ctx.sql.begin(async (tx) => {
    const upload = await lockUpload(tx, uploadId);
    if (upload.state !== 'ready') return;
    await storeFaults(tx, ctx.tenantId, uploadId, faults.kept);
    await endUpload(tx, {
      uploadId,
      state: 'failed',
      rows: 0,
      errors: faults.count,
      failure,
      result: null,
    });
  });
}

/** Result: `IngestionResult`. A file that cannot be read at all ends fatal, with the upload `failed`. */
export const costIngestion = defineHandler({
  type: 'cost_ingestion',
  timeoutMs: 30 * 60_000,
  maxAttempts: 5,
  payload,
  run: async (ctx) => {
    const { uploadId } = ctx.payload;
    const faults = new FaultList();
    try {
      return await ctx.sql.begin(async (tx) => {
        const upload = await lockUpload(tx, uploadId);
        if (upload.state === 'uploading') {
          return snooze({ afterMs: 2000, reason: `upload ${uploadId} is not complete yet` });
        }
        if (upload.state === 'failed') {
          throw fatal('upload_failed', upload.failure ?? `upload ${uploadId} failed`);
        }
        if (upload.state !== 'ready') return done(upload.result);
        return done(await ingestReady(tx, ctx, upload, faults));
      });
    } catch (error) {
      if (error instanceof PurserError && error.details['class'] === 'fatal') {
        if (error.code !== 'unknown_upload') {
          await recordFailure(ctx, uploadId, faults, messageOf(error));
        }
      }
      throw error;
    }
  },
});
