/**
 * What an ingestion could not read: rejected rows and values that were left out, counted exactly and kept within
 * bounds, and the note that a job's result shows.
 */
import type { DeliveryOutcome } from '../exports/delivery.ts';
import type { RowFault } from '../exports/rows.ts';
import { maxStoredFaults } from './rows.ts';

/** Faults of one kind in one file: all are counted, the first ones kept. */
class FaultList {
  readonly kept: RowFault[] = [];
  count = 0;

  add(fault: RowFault): void {
    this.count += 1;
    if (this.kept.length < maxStoredFaults) this.kept.push(fault);
  }
}

export class IngestionReport {
  readonly rejected = new FaultList();
  /** Stored rows with an optional value that cannot be read. */
  readonly warnings = new FaultList();

  /** For `ingest_errors`: rejected rows first. */
  get stored(): RowFault[] {
    return [...this.rejected.kept, ...this.warnings.kept].slice(0, maxStoredFaults);
  }

  /** null when there is nothing to say. Without reasons, which may quote values: those stay in the tenant's table. */
  note(uploadId: string, rows: number, deliveries: readonly DeliveryOutcome[]): string | null {
    const faults = [
      describe(this.rejected, 'left out'),
      describe(this.warnings, 'stored without a value that cannot be read'),
    ].filter((text) => text !== null);
    if (faults.length > 0) {
      const query = `select line, column_name, reason from ingest_errors where upload_id = ${uploadId}`;
      return `${faults.join('; ')}; why: ${query}`;
    }
    if (rows === 0) return 'the file has a header and no rows';
    if (deliveries.every(({ outcome }) => outcome === 'unchanged')) {
      return 'this file was ingested before; nothing to add';
    }
    if (deliveries.every(({ outcome }) => outcome === 'superseded')) {
      return 'newer uploads replaced these billing periods; nothing to add';
    }
    return null;
  }
}

function describe({ kept: [first], count }: FaultList, what: string): string | null {
  if (first === undefined) return null;
  const rows = count === 1 ? 'row was' : 'rows were';
  return `${count} ${rows} ${what}, the first at line ${first.line}, ${first.column ?? 'the whole row'}`;
}
