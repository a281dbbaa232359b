/**
 * What earlier exports of many tenants delivered, or will deliver, of the bills that a newer one has. The newer one
 * replaces all of it, also that of tenants which it does not have, or nothing.
 */
import type { Queryable } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import { billName } from '../exports/bills.ts';
import type { Bill } from '../exports/bills.ts';
import type { TenantBills } from './tenant-bills.ts';
import { ingestionKey } from './uploads.ts';

export interface EarlierBill extends Bill {
  readonly tenantId: string;
  readonly uploadId: string;
  readonly fileName: string;
  /** As deliveries are compared by, however the source is spelled. */
  readonly key: Bill;
  readonly rows: number;
  /** null: it is not ingested. */
  readonly deliveryId: string | null;
  /** Its ingestion has not ended. */
  readonly isOpen: boolean;
}

/** The bills of an export as deliveries are compared by. */
export interface BillKeys {
  readonly all: readonly Bill[];
  of(bill: Bill): Bill | undefined;
}

export async function readKeys(sql: Queryable, bills: readonly Bill[]): Promise<BillKeys> {
  const rows = await sql<{ source: string }[]>`
    select purser.source_key(source) as source
    from unnest(${bills.map(({ source }) => source)}::text[]) with ordinality as b (source, place)
    order by place`;
  const known = new Map(
    bills.map((bill, index) => [
      billName(bill),
      { ...bill, source: rows[index]?.source ?? bill.source },
    ]),
  );
  return { all: [...known.values()], of: (bill) => known.get(billName(bill)) };
}

/** Those of other exports than `fileHash`, by tenant. */
export async function findEarlier(
  sql: Queryable,
  { all: keys }: BillKeys,
  fileHash: string,
): Promise<EarlierBill[]> {
  const rows = await sql<(Omit<EarlierBill, 'key'> & { readonly keySource: string })[]>`
    with bills as materialized (
      select distinct key, period::date as period
      from unnest(${keys.map(({ source }) => source)}::text[],
                  ${keys.map(({ billingPeriod }) => billingPeriod)}::text[]) as b (key, period)
    ), delivered as materialized (
      select * from public.cost_deliveries
      where billing_period in (select period from bills) and file_hash <> ${fileHash}
    ), ready as materialized (
      select u.id, u.tenant_id, u.file_name, b.*, exists (
        select from public.job_keys k join public.jobs j on j.id = k.job_id
        where k.tenant_id = u.tenant_id and k.job_type = 'cost_ingestion'
          and k.dedup_key = ${ingestionKey('')} || u.id and j.outcome is null) as open
      from public.ingest_uploads u
      cross join lateral jsonb_to_recordset(u.bills) as b (source text, "billingPeriod" date, rows integer)
      where u.state = 'ready' and u.bills is not null and u.file_hash <> ${fileHash} and b.rows > 0
    )
    select d.tenant_id as "tenantId", d.upload_id as "uploadId", u.file_name as "fileName", d.source,
           d.billing_period::text as "billingPeriod", b.key as "keySource", d.row_count::int as rows,
           d.id as "deliveryId", false as "isOpen"
    from delivered d
    join public.ingest_uploads u on u.id = d.upload_id
    join bills b on b.period = d.billing_period and b.key = purser.source_key(d.source)
    where u.bills is not null and exists (select from public.cost_records r where r.delivery_id = d.id)
    union all
    select r.tenant_id, r.id, r.file_name, r.source, r."billingPeriod"::text, b.key, r.rows, null, r.open
    from ready r
    join bills b on b.period = r."billingPeriod" and b.key = purser.source_key(r.source)
    order by 1, 5, 4, 2`;
  return rows.map(({ keySource, ...row }) => ({
    ...row,
    key: { source: keySource, billingPeriod: row.billingPeriod },
  }));
}

const again = (reason: string): PurserError =>
  new PurserError('export_pending', `${reason}. Nothing was changed`, {
    details: { class: 'fatal' },
  });

/**
 * Throws `export_pending` (fatal) when an earlier export of the same bills was not ingested yet: its charges cannot be
 * compared.
 */
export function checkPending(earlier: readonly EarlierBill[]): void {
  const pending = earlier.find(({ isOpen }) => isOpen);
  if (pending === undefined) return;
  const { tenantId, uploadId, fileName, source, billingPeriod } = pending;
  throw again(
    `an earlier export of ${source}, ${billingPeriod} is not ingested yet (upload ${uploadId}, ${fileName}, of ` +
      `tenant ${tenantId}), so that it cannot be told whether this one replaces it. Run the command again when its ` +
      `cost_ingestion job has ended, or with --complete if this one is a complete export`,
  );
}

/**
 * Locks the gate until the transaction ends, and throws `export_pending` (fatal) when another export of the same bills
 * became ready since `known` was read.
 */
export async function passGate(
  tx: Queryable,
  keys: BillKeys,
  fileHash: string,
  known: readonly EarlierBill[],
): Promise<void> {
  await tx`select from purser.split_gate for update`;
  const uploads = new Set(known.map(({ uploadId }) => uploadId));
  const other = (await findEarlier(tx, keys, fileHash)).find(
    ({ uploadId }) => !uploads.has(uploadId),
  );
  if (other === undefined) return;
  const { source, billingPeriod, fileName, uploadId } = other;
  throw again(
    `another export of ${source}, ${billingPeriod} became ready in the meantime (upload ${uploadId}, ${fileName}); run ` +
      'the command again',
  );
}

/** Bills of tenants that have rows of them in an earlier export and none in this one. */
export function missingIn(
  earlier: readonly EarlierBill[],
  bills: TenantBills,
  keys: BillKeys,
): EarlierBill[] {
  return earlier.filter(({ tenantId, key }) =>
    bills.of(tenantId).every((bill) => billName(keys.of(bill) ?? bill) !== billName(key)),
  );
}
