/** What a client of the storm knows: its database, its order, its luck and its clock. */
import type { Charges } from '../../../src/budget/charges.ts';
import type { Sql } from '../../../src/db/connect.ts';
import type { CountName, CrashPoint, Order, StormTenant } from './order.ts';

export interface Client {
  readonly sql: Sql;
  /** Of the same pool, shared by the lanes of a process. */
  readonly charges: Charges;
  readonly order: Order;
  readonly random: () => number;
  /** From 0 to 1. */
  readonly progress: () => number;
  readonly count: (name: CountName) => void;
  readonly fault: (fault: string) => void;
  /** Never returns when the process is to be killed here. */
  readonly pass: (point: CrashPoint, reservationId: string) => Promise<void>;
}

/** Some tenants are used far more than others. */
export function tenantOf({ order: { tenants }, random }: Client): StormTenant {
  const tenant = tenants[Math.floor(random() ** 3 * tenants.length)];
  if (tenant === undefined) throw new Error('a storm has tenants');
  return tenant;
}

/** The clocks of clients differ, so that two months are in use while one turns into the other. */
export function nowOf({ order, random, progress }: Client): Date {
  const share = Math.min(1, Math.max(0, progress() + (random() - 0.5) * 0.01));
  return new Date(Math.floor(order.startsAt + share * order.spanMs));
}
