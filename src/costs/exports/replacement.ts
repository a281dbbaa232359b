/**
 * Whether a newer file may replace an earlier delivery of its billing period. A newer version of an export repeats most
 * charges of the older one; a file that does not is most likely another part of it, or another export, and replacing
 * would lose money silently.
 */
import type { Tx } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import type { Delivered } from './delivery.ts';

/** Charges of the older file that are looked for in the newer one, spread evenly over it. */
export const sampleRows = 1000;
/** Of the charges that are looked for, so many must be found. */
export const minRepeatedShare = 0.5;
/** A correction of an export changes few charges; where fewer are repeated, the note says it. */
const minQuietShare = 0.9;

/** What identifies a charge across versions of an export; costs and quantities may be corrected. */
export const chargeColumns = [
  'charge_period_start',
  'charge_period_end',
  'sub_account_id',
  'service_name',
  'region_id',
  'resource_id',
  'sku_id',
  'charge_category',
  'charge_description',
];
/**
 * Charges of the older file that these do not tell apart are told apart by their cost too: a part of an export may have
 * other amounts of the same charge.
 */
export const costOfAlike = `case when count(*) over (partition by ${chargeColumns.join(', ')}) > 1
  then trim_scale(billed_cost) end`;
/** Without a resource, tags tell charges apart. */
export const chargeValues = chargeColumns.map((column) =>
  column === 'resource_id' ? 'coalesce(resource_id, tags::text) as resource_id' : column,
);

/** A delivery that is replaced by fewer rows, by a file without many of its charges, or by much more or less money. */
export interface Shrunk {
  readonly billingPeriod: string;
  readonly otherUploadId: string;
  readonly otherFileName: string;
  readonly rowsBefore: number;
  readonly rows: number;
  /** Distinct charges of the replaced delivery that were looked for, and those found. */
  readonly looked: number;
  readonly repeated: number;
  /** Sums of billed_cost, exact decimals. */
  readonly costBefore: string;
  readonly cost: string;
  /** Of a positive sum more than half is gone. */
  readonly lostMoney: boolean;
}

interface Overlap extends Shrunk {
  readonly knownIsOlder: boolean;
  /** An export of many tenants delivered it. */
  readonly isSplit: boolean;
}

/** Two files that are compared: of `looked` charges of the older one, the newer one has `repeated`. */
interface Comparison {
  readonly billingPeriod: string;
  readonly otherUploadId: string;
  readonly otherFileName: string;
  readonly looked: number;
  readonly repeated: number;
}

/** The error `export_parts` (fatal) of a file that does not repeat another one's charges. */
export function notRepeated(
  fileName: string,
  { billingPeriod, otherUploadId, otherFileName, looked, repeated }: Comparison,
  more = '',
): PurserError {
  return new PurserError(
    'export_parts',
    `${fileName} and ${otherFileName} (upload ${otherUploadId}) have the same source and the billing period ` +
      `${billingPeriod}, but the newer one repeats only ${repeated} of ${looked} charges of the older one, so it ` +
      'would not replace it but lose them. Nothing was changed. If they are parts of one export, ingest them ' +
      `together (--file PART --file PART); ${more}if they are different exports, give each a --source; if the newer ` +
      'one is complete, ingest it with --complete',
    { details: { class: 'fatal', billingPeriod, otherUploadId, looked, repeated } },
  );
}

/** Staged rows against the delivery of the same period that another file made; by upload id, one of them is older. */
async function measureOverlaps(
  tx: Tx,
  { tenantId, uploadId, fileHash }: Delivered,
): Promise<Overlap[]> {
  const charge = tx.unsafe(chargeColumns.join(', '));
  const values = tx.unsafe(chargeValues.join(', '));
  return tx<Overlap[]>`
    with periods as (
      select d.id, d.source, d.billing_period, d.upload_id, d.row_count,
             d.upload_id < ${uploadId}::bigint as known_is_older
      from public.cost_deliveries d
      join (select distinct source, billing_period from pg_temp.ingest_rows) s using (source, billing_period)
      where d.tenant_id = ${tenantId} and d.file_hash <> ${fileHash} and d.row_count > 0
    )
    select p.billing_period::text as "billingPeriod", p.upload_id as "otherUploadId",
           u.file_name as "otherFileName", o.looked, o.repeated,
           p.row_count::int as "rowsBefore", o.rows, o.before::text as "costBefore", o.after::text as cost,
           o.before > 0 and o.after < o.before / 2 as "lostMoney", p.known_is_older as "knownIsOlder",
           u.bills is not null as "isSplit"
    from periods p
    join public.ingest_uploads u on u.id = p.upload_id
    cross join lateral (
      with known as (
        select md5(line::text) as spread, billed_cost, ${values} from public.cost_records where delivery_id = p.id
      ), staged as (
        select md5(line::text) as spread, billed_cost, ${values} from pg_temp.ingest_rows s
        where s.source = p.source and s.billing_period = p.billing_period
      ), sample as (
        select distinct ${charge}, ${tx.unsafe(costOfAlike)} as cost from (
          (select * from known where p.known_is_older order by spread limit ${sampleRows})
          union all
          (select * from staged where not p.known_is_older order by spread limit ${sampleRows})
        ) older
      ), found as (
        select * from sample
        intersect
        (select ${charge}, c.cost from (
           select * from staged where p.known_is_older union all select * from known where not p.known_is_older
         ) newer cross join lateral (values (null), (trim_scale(billed_cost))) as c (cost))
      )
      select (select count(*)::int from sample) as looked, (select count(*)::int from found) as repeated,
             (select count(*)::int from staged) as rows,
             (select trim_scale(coalesce(sum(billed_cost), 0)) from known) as before,
             (select trim_scale(coalesce(sum(billed_cost), 0)) from staged) as after
    ) o
    order by p.billing_period`;
}

/**
 * Throws `export_parts` (fatal) when the staged rows and an existing delivery do not look like two versions of one
 * export; where both are of exports of many tenants (`isSplit`), these were compared as wholes when the newer one was
 * uploaded. Returns the deliveries that they replace with less.
 */
export async function checkReplacement(
  tx: Tx,
  { fileName, isSplit }: { readonly fileName: string; readonly isSplit: boolean },
  delivered: Delivered,
): Promise<Shrunk[]> {
  const overlaps = await measureOverlaps(tx, delivered);
  for (const overlap of overlaps) {
    if (overlap.repeated >= overlap.looked * minRepeatedShare) continue;
    if (isSplit && overlap.isSplit) continue;
    throw notRepeated(fileName, overlap);
  }
  return overlaps.filter(
    ({ knownIsOlder, rowsBefore, rows, looked, repeated, lostMoney }) =>
      knownIsOlder && (rows < rowsBefore || repeated < looked * minQuietShare || lostMoney),
  );
}
