/**
 * Whether charges of an earlier delivery are now in a delivery of another bill: a corrected export gave them another
 * billing account or period, so that nothing replaces the earlier ones and they are counted twice.
 */
import type { Tx } from '../../db/connect.ts';
import type { Delivered } from './delivery.ts';
import { chargeColumns, chargeValues, sampleRows } from './replacement.ts';

/** A delivery of an earlier upload whose charges this upload has under another bill. */
export interface MovedCharges {
  readonly deliveryId: string;
  readonly source: string;
  /** First day of the billing period, `YYYY-MM-DD`. */
  readonly billingPeriod: string;
  readonly rows: number;
  readonly uploadId: string;
  readonly fileName: string;
}

const compared = [...chargeColumns, 'billing_currency', 'cost'];
const maxFound = 3;
/** Of the charges that are looked for, so many have to be found with their cost. */
const minFoundShare = 0.9;

/**
 * At most three, of the same billing periods and their neighbours. Deliveries with as many rows in the same billing period are left to
 * `findSameCharges`.
 */
export async function findMovedCharges(
  tx: Tx,
  { tenantId, uploadId }: Delivered,
): Promise<MovedCharges[]> {
  const values = tx.unsafe(chargeValues.join(', '));
  const charge = tx.unsafe(compared.join(', '));
  const ofSample = tx.unsafe(compared.map((column) => `s.${column}`).join(', '));
  return tx<MovedCharges[]>`
    with own as materialized (
      select id, billing_period, row_count from public.cost_deliveries
      where tenant_id = ${tenantId} and upload_id = ${uploadId}::bigint and row_count > 0
    ), others as materialized (
      select d.* from public.cost_deliveries d
      where d.tenant_id = ${tenantId} and d.upload_id < ${uploadId}::bigint and d.row_count > 0
        and not exists (select from own o where o.billing_period = d.billing_period and o.row_count = d.row_count)
        and d.billing_period between (select min(billing_period) - interval '1 month' from own)
          and (select max(billing_period) + interval '1 month' from own)
    ), sample as materialized (
      select d.id as delivery_id, s.* from others d
      cross join lateral (
        select distinct ${charge} from (
          select ${values}, billing_currency, trim_scale(billed_cost) as cost from public.cost_records
          where delivery_id = d.id and billed_cost <> 0 order by md5(line::text) limit ${sampleRows}
        ) sampled
      ) s
    ), charges as materialized (
      select distinct ${charge} from sample
      intersect
      select ${charge} from (
        select ${values}, billing_currency, trim_scale(billed_cost) as cost
        from public.cost_records where exists (select from sample) and delivery_id in (select id from own)
      ) mine
    )
    select d.id as "deliveryId", d.source, d.billing_period::text as "billingPeriod", d.row_count::int as rows,
           d.upload_id as "uploadId", u.file_name as "fileName"
    from others d
    join public.ingest_uploads u on u.id = d.upload_id
    cross join lateral (
      select count(*) as looked,
             count(*) filter (where row(${ofSample})::text in (select c::text from charges c)) as found
      from sample s where s.delivery_id = d.id
    ) f
    where f.looked > 0 and f.found >= f.looked * ${minFoundShare}::numeric
    order by d.id limit ${maxFound}`;
}
