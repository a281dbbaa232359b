/** Which tenant has charges of which bill in an export of many tenants. */
import { billName } from '../exports/bills.ts';
import type { Bill } from '../exports/bills.ts';

/** A bill that an export decides for a tenant. Without rows: those of an earlier export are removed. */
export interface DecidedBill extends Bill {
  readonly rows: number;
}

export class TenantBills {
  readonly #bills = new Map<string, Bill>();
  readonly #tenants = new Map<string, Map<string, Bill & { rows: number }>>();

  /** Counts a row. */
  add(tenantId: string, bill: Bill): void {
    this.#decide(tenantId, bill).rows += 1;
    this.#bills.set(billName(bill), bill);
  }

  /** The tenant has no charges of this bill any more. */
  empty(tenantId: string, bill: Bill): void {
    this.#decide(tenantId, bill);
  }

  /** The bills of the export, in each spelling. */
  get all(): readonly Bill[] {
    return [...this.#bills.values()];
  }

  of(tenantId: string): readonly DecidedBill[] {
    return [...(this.#tenants.get(tenantId)?.values() ?? [])];
  }

  #decide(tenantId: string, { source, billingPeriod }: Bill): { rows: number } {
    const bills = this.#tenants.get(tenantId) ?? new Map<string, Bill & { rows: number }>();
    this.#tenants.set(tenantId, bills);
    const key = billName({ source, billingPeriod });
    const known = bills.get(key) ?? { source, billingPeriod, rows: 0 };
    bills.set(key, known);
    return known;
  }
}
