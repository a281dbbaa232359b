/** Replays the ledger of a storm in lock order through the model, and compares what it ends with. */
import { formatUsd, parseUsd } from '../../../src/budget/money.ts';
import { verifyBudgets } from '../../../src/budget/verify.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { createMoneyModel } from '../model/money-model.ts';
import type { MoneyModel, Pin } from '../model/money-model.ts';
import { readLockOrder } from './lock-order.ts';
import type { EntryRow, LimitRow } from './lock-order.ts';
import { replayScopes } from './replay-scopes.ts';
import type { ReplayedScopes } from './replay-scopes.ts';

export interface Replayed {
  readonly model: MoneyModel;
  /** Admissions above a hard limit, and their excess in nano-USD. */
  readonly overspends: number;
  readonly overspentNanoUsd: bigint;
  readonly scopes: ReplayedScopes;
  /** Entries whose id is smaller than that of an entry of their period before them in lock order. */
  readonly outOfIdOrder: number;
  /** What is wrong with an entry. */
  readonly faults: readonly string[];
}

export async function replayLedger(sql: Sql): Promise<Replayed> {
  const { limits, entries } = await readLockOrder(sql);
  const model = createMoneyModel();
  const faults: string[] = [];
  const over: bigint[] = [];
  const lastIds = new Map<string, bigint>();
  let outOfIdOrder = 0;
  let nextLimit = 0;
  for (const [index, entry] of entries.entries()) {
    const { place, id, tenantId, period } = entry;
    if (place === null) {
      faults.push(`entry ${id} has moved no period`);
      continue;
    }
    nextLimit = setLimits(model, limits, { from: nextLimit, until: BigInt(place) });
    const pin: Pin = { scope: tenantId, period, unit: 'usd' };
    if (entry.event === 'reserve') {
      const hold = parseUsd(entry.reserved);
      const exceeds = model.exceeded([pin], hold).length > 0;
      if (exceeds && model.limits.get(tenantId)?.hard === true) {
        over.push(hold - model.available(pin));
      }
    }
    faults.push(...apply(model, pin, entry));
    if (entries[index + 1]?.place !== place && textOf(model, pin) !== exact(entry.left)) {
      faults.push(
        `after entry ${id} the counters are ${exact(entry.left)}, not ${textOf(model, pin)}`,
      );
    }
    const account = `${tenantId} ${period}`;
    if (BigInt(id) < (lastIds.get(account) ?? 0n)) outOfIdOrder += 1;
    else lastIds.set(account, BigInt(id));
  }
  const overspentNanoUsd = over.reduce((sum, excess) => sum + excess, 0n);
  const scopes = await replayScopes(sql, entries);
  faults.push(...scopes.faults);
  return { model, overspends: over.length, overspentNanoUsd, scopes, outOfIdOrder, faults };
}

/** Sets the limits with a place before `until`. Returns the index of the first one that is left. */
function setLimits(
  model: MoneyModel,
  limits: readonly LimitRow[],
  { from, until }: { readonly from: number; readonly until: bigint },
): number {
  let next = from;
  for (; next < limits.length; next += 1) {
    const limit = limits[next];
    if (limit === undefined || BigInt(limit.place) > until) break;
    model.setLimit(limit.tenantId, { amount: parseUsd(limit.limitUsd), hard: limit.hard });
  }
  return next;
}

/** Moves the model, and says where the entry differs from what the model does. */
function apply(model: MoneyModel, pin: Pin, entry: EntryRow): string[] {
  const { id, event, reservationId: key } = entry;
  const before = model.countersOf(pin);
  let allowed = true;
  if (event === 'reserve') {
    allowed = !model.reservations.has(key);
    if (allowed) {
      const hold = parseUsd(entry.reserved);
      model.open({ key, payload: '', hold, pins: [pin], expiresAt: 0 });
    }
  } else if (event === 'settle') {
    allowed = model.settle(key, { cost: parseUsd(entry.spent), bill: id }) === 'settled';
  } else {
    allowed = model.close(key, event === 'release' ? 'RELEASED' : 'UNKNOWN');
  }
  if (!allowed)
    return [`entry ${id}: ${event} of reservation ${key} is not allowed after its others`];
  const after = model.countersOf(pin);
  const moved = [
    after.reserved - before.reserved,
    after.spent - before.spent,
    after.unknown - before.unknown,
  ];
  const booked = [entry.reserved, entry.spent, entry.unknown].map(parseUsd);
  const sum = [...booked, parseUsd(entry.available)].reduce((all, one) => all + one, 0n);
  return [
    ...(String(moved) === String(booked)
      ? []
      : [`entry ${id}: ${event} books ${String(booked)}, not ${String(moved)}`]),
    ...(sum === 0n ? [] : [`entry ${id} does not sum to zero`]),
  ];
}

function textOf(model: MoneyModel, pin: Pin): string {
  const { reserved, spent, unknown } = model.countersOf(pin);
  return [reserved, spent, unknown].map(formatUsd).join(' ');
}

const exact = (amounts: readonly string[]): string =>
  amounts.map((amount) => formatUsd(parseUsd(amount))).join(' ');

/** Where the database differs from the model after the replay, and what `verifyBudgets` names. */
export async function compareEnd(sql: Sql, replayed: Replayed): Promise<string[]> {
  const { model } = replayed;
  const statuses = await sql<{ id: string; status: string }[]>`
    select id, status from llm_reservations`;
  const wrong = statuses
    .filter(({ id, status }) => model.reservations.get(id)?.status !== status)
    .map(({ id, status }) => `reservation ${id} is ${status}, and its ledger says otherwise`);
  const missing = model.reservations.size - statuses.length;
  const { differences, overspends } = await verifyBudgets(sql);
  const found = replayed.overspends + replayed.scopes.overspends;
  return [
    ...wrong,
    ...(overspends === found ? [] : [`verify finds ${overspends} overspends, not ${found}`]),
    ...(missing === 0 ? [] : [`${missing} reservations of the ledger are not there`]),
    ...differences.map(
      ({ tenantId, name, stored, recomputed }) => `${tenantId} ${name}: ${stored}, ${recomputed}`,
    ),
  ];
}
