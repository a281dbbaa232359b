/**
 * Tenants that an earlier export of many tenants gave charges of a bill, and the newer export of that bill does not:
 * nothing replaces their rows, which are counted beside those of the newer export.
 */
import type { Sql } from '../../db/connect.ts';
import type { Bill } from '../exports/bills.ts';

export interface MissingTenant extends Bill {
  readonly tenantId: string;
  readonly deliveryId: string;
  readonly rows: number;
}

/** Which tenant has rows of which bill in an export. */
export class TenantBills {
  readonly #bills = new Map<string, { readonly bill: Bill; readonly tenantIds: Set<string> }>();

  add(tenantId: string, bill: Bill): void {
    const key = `${bill.billingPeriod} ${bill.source}`;
    const known = this.#bills.get(key) ?? { bill, tenantIds: new Set() };
    if (known.tenantIds.size === 0) this.#bills.set(key, known);
    known.tenantIds.add(tenantId);
  }

  /** Deliveries of the same bills that earlier exports of many tenants made for tenants without rows of it here. */
  async findMissing(system: Sql): Promise<MissingTenant[]> {
    const bills = [...this.#bills.values()];
    const present = bills.flatMap(({ tenantIds }, index) =>
      [...tenantIds].map((tenantId) => ({ tenantId, bill: index + 1 })),
    );
    return system<MissingTenant[]>`
      with bills as materialized (
        select bill, purser.source_key(source) as key, period::date as period
        from unnest(${bills.map(({ bill }) => bill.source)}::text[],
                    ${bills.map(({ bill }) => bill.billingPeriod)}::text[])
          with ordinality as b (source, period, bill)
      ), present as materialized (
        select p.tenant_id, b.key, b.period
        from unnest(${present.map(({ tenantId }) => tenantId)}::text[],
                    ${present.map(({ bill }) => bill)}::bigint[]) as p (tenant_id, bill)
        join bills b using (bill)
      )
      select d.tenant_id as "tenantId", d.id as "deliveryId", d.source, d.billing_period::text as "billingPeriod",
             d.row_count::int as rows
      from public.cost_deliveries d
      join public.ingest_uploads u on u.id = d.upload_id
      join (select distinct key, period from bills) b
        on b.key = purser.source_key(d.source) and b.period = d.billing_period
      where u.has_line_column
        and not exists (select from present p where p.tenant_id = d.tenant_id and p.key = b.key and p.period = b.period)
        and exists (select from public.cost_records r where r.delivery_id = d.id)
      order by d.tenant_id, d.source, d.billing_period`;
  }
}

/** The tenant, and what to do about it. */
export function describeMissing({
  tenantId,
  deliveryId,
  source,
  billingPeriod,
  rows,
}: MissingTenant): string {
  return (
    `tenant ${tenantId} has ${rows === 1 ? '1 row' : `${rows} rows`} of ${source}, ${billingPeriod}, from an earlier ` +
    'export and none in this one; if this one replaces it, their cost is counted twice: ' +
    `delete from cost_records where delivery_id = ${deliveryId}`
  );
}
