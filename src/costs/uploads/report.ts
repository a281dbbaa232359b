/**
 * What an ingestion could not read: rejected rows and values that were left out, counted exactly and kept within
 * bounds, and the note that a job's result shows.
 */
import type { DeliveryOutcome } from '../exports/delivery.ts';
import type { MovedCharges } from '../exports/moved-charges.ts';
import type { RowFault } from '../exports/rows.ts';
import type { Shrunk } from '../exports/replacement.ts';
import type { SameCharges } from '../exports/same-charges.ts';
import { maxStoredFaults } from './rows.ts';

/** What a note speaks of. */
interface Noted {
  readonly uploadId: string;
  readonly rows: number;
  readonly deliveries: readonly DeliveryOutcome[];
  readonly same: readonly SameCharges[];
  readonly moved: readonly MovedCharges[];
  readonly shrunk: readonly Shrunk[];
}

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
  note({ uploadId, rows, deliveries, same, moved, shrunk }: Noted): string | null {
    const texts = [
      ...deliveries.flatMap(describeEmptied).slice(0, maxNotedDeliveries),
      ...shrunk.slice(0, maxNotedDeliveries).map(describeShrunk),
      ...same.map(describeSame),
      ...moved.map(describeMoved),
    ];
    const faults = [
      describe(this.rejected, 'left out'),
      describe(this.warnings, 'stored without a value that cannot be read'),
    ].filter((text) => text !== null);
    if (faults.length > 0) {
      const query = `select line, column_name, reason from ingest_errors where upload_id = ${uploadId}`;
      texts.unshift(`${faults.join('; ')}; why: ${query}`);
    } else if (rows === 0 && deliveries.length === 0) {
      texts.push('the file has a header and no rows');
    } else if (deliveries.every(({ outcome }) => outcome === 'unchanged')) {
      texts.push('this file was ingested before; nothing to add');
    } else if (deliveries.every(({ outcome }) => outcome === 'superseded')) {
      texts.push('newer uploads replaced these billing periods; nothing to add');
    }
    return texts.length === 0 ? null : texts.join('. ');
  }
}

const maxNotedDeliveries = 3;

function describeEmptied({ outcome, source, billingPeriod }: DeliveryOutcome): string[] {
  if (outcome !== 'emptied') return [];
  const bill = `${source}, ${billingPeriod}`;
  return [
    `the export has no charges of this tenant in ${bill} any more; those of an earlier one were removed`,
  ];
}

function describeShrunk(shrunk: Shrunk): string {
  const { billingPeriod, otherUploadId, otherFileName, rowsBefore, rows } = shrunk;
  const lost = shrunk.looked - shrunk.repeated;
  return (
    `the delivery of ${billingPeriod} that this file replaces (upload ${otherUploadId}, ${otherFileName}) had ` +
    `${rowsBefore} rows, and this one has ${rows}` +
    (lost === 0
      ? ''
      : `; ${lost} of ${shrunk.looked} charges that were compared are no longer in it`) +
    (shrunk.lostMoney ? `; its sum is ${shrunk.cost}, where it was ${shrunk.costBefore}` : '') +
    '; if the file is cut, ingest the whole export'
  );
}

function describeSame(same: SameCharges): string {
  const { deliveryId, source, billingPeriod, rows } = same;
  const { otherSource, otherUploadId, otherFileName } = same;
  const charges = rows === 1 ? '1 charge' : `${rows} charges`;
  return (
    `the ${charges} of ${source} in ${billingPeriod} are those of ${otherSource} too (upload ${otherUploadId}, ` +
    `${otherFileName}); if it is one bill, it is counted twice: delete from cost_records where delivery_id = ` +
    `${deliveryId}, and give later exports of it one --source`
  );
}

function describeMoved({
  deliveryId,
  source,
  billingPeriod,
  rows,
  ...other
}: MovedCharges): string {
  const charges = rows === 1 ? 'the charge' : `the ${rows} charges`;
  return (
    `${charges} of ${source} in ${billingPeriod} (upload ${other.uploadId}, ${other.fileName}) are in this file under ` +
    'another billing account or period; if they were moved there, they are counted twice: delete from cost_records ' +
    `where delivery_id = ${deliveryId}`
  );
}

function describe({ kept: [first], count }: FaultList, what: string): string | null {
  if (first === undefined) return null;
  const rows = count === 1 ? 'row was' : 'rows were';
  return `${count} ${rows} ${what}, the first at line ${first.line}, ${first.column ?? 'the whole row'}`;
}
