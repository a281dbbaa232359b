/**
 * Whether the charges that a delivery brings are those of another source too: most likely one bill under two names,
 * which is counted twice.
 */
import type { Tx } from '../../db/connect.ts';
import type { Delivered } from './delivery.ts';

/** A delivery of this upload, and one of another source that has exactly the same charges. */
export interface SameCharges {
  readonly deliveryId: string;
  readonly source: string;
  /** First day of the billing period, `YYYY-MM-DD`. */
  readonly billingPeriod: string;
  readonly rows: number;
  readonly otherSource: string;
  readonly otherUploadId: string;
  readonly otherFileName: string;
}

/** Without the provider and the account, which are what the two may spell in different ways. */
const chargeColumns = [
  'charge_period_start',
  'charge_period_end',
  'sub_account_id',
  'service_name',
  'region_id',
  'resource_id',
  'sku_id',
  'charge_category',
  'charge_description',
  'billing_currency',
  'billed_cost',
].join(', ');

/** Compares charges only where the number of rows and the sum agree. Of equal multisets of one size, nothing is left over. */
export async function findSameCharges(
  tx: Tx,
  { tenantId, uploadId }: Delivered,
): Promise<SameCharges[]> {
  const charge = tx.unsafe(chargeColumns);
  return tx<SameCharges[]>`
    select d.id as "deliveryId", d.source, d.billing_period::text as "billingPeriod", d.row_count::int as rows, o.source as "otherSource",
           o.upload_id as "otherUploadId", u.file_name as "otherFileName"
    from public.cost_deliveries d
    join public.cost_deliveries o on o.tenant_id = d.tenant_id and o.billing_period = d.billing_period
      and o.row_count = d.row_count and o.id <> d.id and o.upload_id <> d.upload_id
    join public.ingest_uploads u on u.id = o.upload_id
    where d.tenant_id = ${tenantId} and d.upload_id = ${uploadId}::bigint and d.row_count > 0
      and case when (select sum(billed_cost) from public.cost_records where delivery_id = d.id)
                  = (select sum(billed_cost) from public.cost_records where delivery_id = o.id)
          then not exists (
            select ${charge} from public.cost_records where delivery_id = d.id
            except all
            select ${charge} from public.cost_records where delivery_id = o.id)
          else false end
    order by d.source, d.billing_period, o.source`;
}
