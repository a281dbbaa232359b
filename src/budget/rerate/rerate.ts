/**
 * Re-rating: what settled calls cost at the price that was in force at their time, by the corrections that were made
 * since. A difference is an `adjust` entry of the ledger in the call's own periods, once per call and price version.
 */
import type { Sql, Tx } from '../../db/connect.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';
import type { BillItem } from '../bill.ts';
import { formatUsd } from '../money.ts';
import { ratedCalls, listChargedTenants } from './calls.ts';
import type { CallFilter, RatedCall } from './calls.ts';
import { decide } from './decide.ts';
import type { LeftReason } from './decide.ts';
import { evidenceOf, PriceBook } from './price-book.ts';

export interface RerateRequest extends CallFilter {
  /** Default: all. */
  readonly tenantId?: string | undefined;
  /** Factors of the rates of tokens that a service tier can have. */
  readonly factors: readonly string[];
  /** Writes the differences; without it they are only counted. */
  readonly apply?: { readonly by: string; readonly reason: string } | undefined;
}

/** Of one tenant and UTC month. */
export interface RerateSum {
  readonly tenantId: string;
  readonly month: string;
  readonly calls: number;
  readonly beforeNanoUsd: bigint;
  readonly afterNanoUsd: bigint;
}

/** Calls with another price whose cost stays as it is. */
export interface LeftCalls {
  readonly reason: LeftReason;
  /** What exactly, e.g. the classes without a rate. */
  readonly detail: string | null;
  readonly calls: number;
  readonly chargedNanoUsd: bigint;
  /** The first of them. */
  readonly reservations: readonly string[];
}

export interface Rerating {
  /** Calls of the range, whatever their price. */
  readonly looked: number;
  /** What changes, or with `apply` what was changed. */
  readonly sums: readonly RerateSum[];
  readonly left: readonly LeftCalls[];
  /** Of `apply`: calls that another run rated at the same moment, and those whose cost changed meanwhile. */
  readonly repeated: number;
  readonly changedMeanwhile: number;
}

interface Correction {
  readonly call: RatedCall;
  readonly evidence: string;
  readonly items: readonly BillItem[];
  readonly costNanoUsd: bigint;
}

/** Calls of one transaction, which holds the months that they are charged to. */
const batchSize = 50;
const namedReservations = 20;

/**
 * Safe to repeat, and to run twice at once. `record` is run in the transaction of each batch that is written, with the
 * calls of it whose cost changed. Throws `store_unavailable` (503); what was written before
 * stays.
 */
export async function rerate(
  sql: Sql,
  request: RerateRequest,
  record?: (tx: Tx, changes: readonly RatedChange[]) => Promise<void>,
): Promise<Rerating> {
  const prices = new PriceBook(sql);
  const count = new Counts();
  const { tenantId, apply } = request;
  const tenants = tenantId === undefined ? await listChargedTenants(sql, request) : [tenantId];
  for (const tenant of tenants) {
    for await (const page of ratedCalls(sql, tenant, request)) {
      const corrections: Correction[] = [];
      for (const call of page) {
        const correction = await correctionOf(call, { prices, count, factors: request.factors });
        if (correction !== undefined) corrections.push(correction);
      }
      for (let start = 0; start < corrections.length; start += batchSize) {
        const batch = corrections.slice(start, start + batchSize);
        count.add(
          batch,
          apply === undefined ? undefined : await writeBatch(sql, batch, apply, record),
        );
      }
    }
  }
  return count.result();
}

async function correctionOf(
  call: RatedCall,
  { prices, count, factors }: { prices: PriceBook; count: Counts; factors: readonly string[] },
): Promise<Correction | undefined> {
  count.looked += 1;
  const inForce = await prices.inForce(call);
  const decision = decide({ call, charged: await prices.charged(call), inForce, factors });
  if (decision.kind === 'left') count.leave(call, decision);
  if (decision.kind !== 'changed' || inForce === undefined) return undefined;
  const { items, costNanoUsd } = decision;
  const price = evidenceOf(inForce);
  // A price that counts again after another one had replaced it.
  const evidence = call.rated.includes(price) ? `${price} after ${call.rated.at(-1)}` : price;
  return { call, evidence: evidence.slice(0, 200), items, costNanoUsd };
}

/** A call whose cost was changed. */
export interface RatedChange {
  readonly reservationId: string;
  readonly tenantId: string;
  readonly beforeNanoUsd: bigint;
  readonly afterNanoUsd: bigint;
}

const changeOf = ({ call, costNanoUsd }: Correction): RatedChange => ({
  reservationId: call.id,
  tenantId: call.tenantId,
  beforeNanoUsd: call.chargedNanoUsd,
  afterNanoUsd: costNanoUsd,
});

type Outcomes = ReadonlyMap<string, string>;

async function writeBatch(
  sql: Sql,
  batch: readonly Correction[],
  { by, reason }: { readonly by: string; readonly reason: string },
  record: ((tx: Tx, changes: readonly RatedChange[]) => Promise<void>) | undefined,
): Promise<Outcomes> {
  const calls = batch.map(({ call, evidence, items, costNanoUsd }) => ({
    id: call.id,
    evidence,
    before_usd: formatUsd(call.chargedNanoUsd),
    cost_usd: formatUsd(costNanoUsd),
    items,
  }));
  return mapStoreErrors('re-rate calls', () =>
    sql.begin(async (tx) => {
      const rows = await tx<{ id: string; outcome: string }[]>`
        select reservation_id as id, outcome
        from purser.budget_rerate(${JSON.stringify(calls)}::text::jsonb, ${reason}, ${by}, null)`;
      const outcomes = new Map(rows.map(({ id, outcome }) => [id, outcome]));
      const changed = batch.filter(({ call }) => outcomes.get(call.id) === 'adjusted');
      if (changed.length > 0) await record?.(tx, changed.map(changeOf));
      return outcomes;
    }),
  );
}

class Counts {
  looked = 0;
  #repeated = 0;
  #changedMeanwhile = 0;
  readonly #sums = new Map<string, RerateSum>();
  readonly #left = new Map<string, LeftCalls>();

  leave(call: RatedCall, { reason, detail }: { reason: LeftReason; detail?: string }): void {
    const key = JSON.stringify([reason, detail]);
    const before = this.#left.get(key);
    const reservations = before?.reservations ?? [];
    this.#left.set(key, {
      reason,
      detail: detail ?? null,
      calls: (before?.calls ?? 0) + 1,
      chargedNanoUsd: (before?.chargedNanoUsd ?? 0n) + call.chargedNanoUsd,
      reservations:
        reservations.length < namedReservations ? [...reservations, call.id] : reservations,
    });
  }

  /** `outcomes` undefined: nothing was written. */
  add(corrections: readonly Correction[], outcomes: Outcomes | undefined): void {
    for (const { call, costNanoUsd } of corrections) {
      const outcome = outcomes === undefined ? 'adjusted' : outcomes.get(call.id);
      if (outcome === 'repeated') this.#repeated += 1;
      else if (outcome !== 'adjusted') this.#changedMeanwhile += 1;
      else this.#sum(call, costNanoUsd);
    }
  }

  #sum({ tenantId, month, chargedNanoUsd }: RatedCall, costNanoUsd: bigint): void {
    const key = JSON.stringify([tenantId, month]);
    const before = this.#sums.get(key);
    this.#sums.set(key, {
      tenantId,
      month: month.slice(0, 7),
      calls: (before?.calls ?? 0) + 1,
      beforeNanoUsd: (before?.beforeNanoUsd ?? 0n) + chargedNanoUsd,
      afterNanoUsd: (before?.afterNanoUsd ?? 0n) + costNanoUsd,
    });
  }

  result(): Rerating {
    return {
      looked: this.looked,
      sums: [...this.#sums.values()],
      left: [...this.#left.values()],
      repeated: this.#repeated,
      changedMeanwhile: this.#changedMeanwhile,
    };
  }
}
