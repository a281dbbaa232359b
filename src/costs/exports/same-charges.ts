/**
 * Whether the charges that a delivery brings are those of another source too: most likely one bill under two names,
 * which is counted twice.
 */
import type { Tx } from '../../db/connect.ts';
import type { Delivered } from './delivery.ts';
import { chargeColumns } from './replacement.ts';

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
const billedColumns = [...chargeColumns, 'billing_currency', 'billed_cost'].join(', ');

const maxFound = 3;

/**
 * At most three. Compares charges only where the number of rows and the sum agree; of equal multisets of one size,
 * nothing is left over.
 */
export async function findSameCharges(
  tx: Tx,
  { tenantId, uploadId }: Delivered,
): Promise<SameCharges[]> {
  const charge = tx.unsafe(billedColumns);
  return tx<SameCharges[]>`
    with pairs as materialized (
      select d.id, d.source, d.billing_period, d.row_count, o.id as other_id, o.source as other_source,
             o.upload_id as other_upload_id
      from public.cost_deliveries d
      join public.cost_deliveries o on o.tenant_id = d.tenant_id and o.billing_period = d.billing_period
        and o.row_count = d.row_count and o.upload_id <> d.upload_id
      where d.tenant_id = ${tenantId} and d.upload_id = ${uploadId}::bigint and d.row_count > 0
    ), sums as materialized (
      select delivery_id, sum(billed_cost) as total from public.cost_records
      where delivery_id in (select id from pairs union select other_id from pairs) group by delivery_id
    ), equal as materialized (
      select p.* from pairs p join sums s on s.delivery_id = p.id
      join sums os on os.delivery_id = p.other_id and os.total = s.total
    )
    select e.id as "deliveryId", e.source, e.billing_period::text as "billingPeriod", e.row_count::int as rows,
           e.other_source as "otherSource", e.other_upload_id as "otherUploadId", u.file_name as "otherFileName"
    from equal e
    join public.ingest_uploads u on u.id = e.other_upload_id
    where not exists (
      select ${charge} from public.cost_records where delivery_id = e.id
      except all
      select ${charge} from public.cost_records where delivery_id = e.other_id)
    limit ${maxFound}`;
}
