/**
 * Whether an export of many tenants repeats the charges of the earlier ones that it would replace, over all tenants
 * together: one that has lost most of a bill is most likely a part of it.
 */
import type { Queryable } from '../../db/connect.ts';
import type { CsvRecord } from '../exports/csv-records.ts';
import { billName } from '../exports/bills.ts';
import type { Bill } from '../exports/bills.ts';
import { mapColumns, targets } from '../exports/format.ts';
import { formatNamed } from '../exports/formats.ts';
import {
  chargeColumns,
  chargeValues,
  costOfAlike,
  minRepeatedShare,
  notRepeated,
  sampleRows,
} from '../exports/replacement.ts';
import { createRowReader } from '../exports/rows.ts';
import type { BillKeys, EarlierBill } from './earlier-exports.ts';
import { exportBytes } from './export-parts.ts';
import type { ExportSummary } from './export-parts.ts';
import { recordsOf } from './file-checks.ts';
import type { FileLimits } from './source-file.ts';

/** The charges of one bill that are looked for. */
interface Sample {
  readonly newest: EarlierBill;
  readonly looked: number;
  readonly missing: Set<string>;
}

const charge = chargeColumns.join(', ');
const isTime = new Set(['charge_period_start', 'charge_period_end']);
/** Of a row of cost_records and of one of a file; `cost` is null for charges that are told apart without it. */
const hashed = (cost: string): string => `md5(row(${charge}, ${cost})::text)`;

/** Distinct charges of the earlier deliveries, at most 1,000 of each bill, by bill. */
async function takeSamples(
  sql: Queryable,
  earlier: readonly EarlierBill[],
): Promise<Map<string, Sample>> {
  const bills = [...new Set(earlier.map(({ key }) => billName(key)))];
  const places = earlier.map(({ key }) => bills.indexOf(billName(key)));
  const hashes = await sql<{ bill: number; hash: string }[]>`
    with bills as materialized (
      select bill, array_agg(id) as ids
      from unnest(${earlier.map(({ deliveryId }) => deliveryId)}::bigint[], ${places}::integer[]) as b (id, bill)
      group by bill
    )
    select b.bill, s.hash
    from bills b
    cross join lateral (
      select distinct ${sql.unsafe(hashed('cost'))} as hash from (
        select ${sql.unsafe(charge)}, ${sql.unsafe(costOfAlike)} as cost from (
          select ${sql.unsafe(chargeValues.join(', '))}, billed_cost from public.cost_records
          where delivery_id = any(b.ids) order by md5(line::text) limit ${sampleRows}
        ) rows
      ) sample
    ) s`;
  const samples = new Map<string, Sample>();
  for (const [place, name] of bills.entries()) {
    const missing = new Set(hashes.flatMap(({ bill, hash }) => (bill === place ? [hash] : [])));
    const newest = earlier.filter((_, index) => places[index] === place).at(-1);
    if (newest !== undefined) samples.set(name, { newest, looked: missing.size, missing });
  }
  return samples;
}

/** A value of a file as cost_records holds it. */
function storedValue(column: string): string {
  if (isTime.has(column)) return `${column}::timestamptz as ${column}`;
  return column === 'resource_id'
    ? 'coalesce(resource_id, tags::jsonb::text) as resource_id'
    : column;
}

const readColumns = targets.filter((target) =>
  ['tags', 'billed_cost', ...chargeColumns].includes(target),
);
/** Takes one array per column of `readColumns`. */
const hashRows = `
  select ${hashed('null::numeric')} as hash, ${hashed('cost')} as "withCost" from (
    select place, trim_scale(billed_cost::numeric) as cost, ${chargeColumns.map(storedValue).join(', ')}
    from unnest(${readColumns.map((_, index) => `$${index + 1}::text[]`).join(', ')})
      with ordinality as r (${readColumns.join(', ')}, place)
  ) charges order by place`;

/** Removes the charges of these rows, values in the order of `targets`, from what is looked for. */
async function markFound(
  sql: Queryable,
  rows: readonly { readonly sample: Sample; readonly values: readonly (string | null)[] }[],
): Promise<void> {
  if (rows.length === 0) return;
  const arrays = readColumns.map((column) => {
    const place = targets.indexOf(column);
    return rows.map(({ values }) => values[place] ?? null);
  });
  const hashes = await sql.unsafe<{ hash: string; withCost: string }[]>(hashRows, arrays);
  for (const [index, { hash, withCost }] of hashes.entries()) {
    rows[index]?.sample.missing.delete(hash);
    rows[index]?.sample.missing.delete(withCost);
  }
}

const isRepeated = ({ looked, missing }: Sample): boolean =>
  looked - missing.size >= looked * minRepeatedShare;

export interface RepeatedCharges {
  readonly summary: ExportSummary;
  readonly limits?: FileLimits | undefined;
  readonly source: string | null;
  readonly earlier: readonly EarlierBill[];
  readonly billOf: (record: CsvRecord) => Bill | undefined;
  readonly keys: BillKeys;
}

/** Reads the file again, until enough is found. Throws `export_parts` (fatal). */
export async function checkRepeatedCharges(
  sql: Queryable,
  { summary, limits, source, earlier, billOf, keys }: RepeatedCharges,
): Promise<void> {
  const samples = await takeSamples(sql, earlier);
  const sampleOf = (record: CsvRecord): Sample | undefined => {
    const bill = billOf(record);
    const key = bill === undefined ? undefined : keys.of(bill);
    return key === undefined ? undefined : samples.get(billName(key));
  };
  const columns = mapColumns(formatNamed(summary.format), summary.header);
  const read = createRowReader({ columns, source, hasLineColumn: false });
  let isHeader = true;
  for await (const records of recordsOf(summary, exportBytes(summary, limits, undefined))) {
    const rows = records.slice(isHeader ? 1 : 0).flatMap((record) => {
      const sample = sampleOf(record);
      if (sample === undefined) return [];
      const reading = read(record);
      return 'fault' in reading ? [] : [{ sample, values: reading.values }];
    });
    if (records.length > 0) isHeader = false;
    await markFound(sql, rows);
    if ([...samples.values()].every(isRepeated)) return;
  }
  for (const sample of samples.values()) {
    if (isRepeated(sample)) continue;
    const { newest, looked, missing } = sample;
    throw notRepeated(
      summary.fileName,
      {
        billingPeriod: newest.billingPeriod,
        otherUploadId: newest.uploadId,
        otherFileName: newest.fileName,
        looked,
        repeated: looked - missing.size,
      },
      'if it has some of the tenants only, ingest it for each (--tenant); ',
    );
  }
}
