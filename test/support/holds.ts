/** Requests of the budget functions with defaults. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatUsd, parseUsd } from '../../src/budget/money.ts';
import type { PinnedPrice } from '../../src/budget/pinned-price.ts';
import { checkAndReserve } from '../../src/budget/reserve.ts';
import type { Reservation, ReserveRequest } from '../../src/budget/reserve.ts';
import type { Sql } from '../../src/db/connect.ts';
import type { TestAttempt } from './tenants.ts';

const price: PinnedPrice = {
  source: 'test',
  model: 'test-model',
  rates: { input: { usd: '1' }, output: { usd: '1' } },
};

/** A hold of `usd` for this attempt. */
export function holdOf(
  attempt: TestAttempt,
  usd: string,
  overrides: Partial<ReserveRequest> = {},
): ReserveRequest {
  return {
    ...attempt,
    idempotencyKey: randomUUID(),
    holdNanoUsd: parseUsd(usd),
    ttlMs: 60_000,
    provider: 'test',
    model: 'test-model',
    price,
    ...overrides,
  };
}

export function reserve(
  sql: Sql,
  attempt: TestAttempt,
  usd: string,
  overrides: Partial<ReserveRequest> = {},
): Promise<Reservation> {
  return checkAndReserve(sql, holdOf(attempt, usd, overrides));
}

/** A settlement of `usd` for a reservation. */
export function settlementOf(reservationId: string, usd: string, now?: Date) {
  return {
    reservationId,
    items: [
      { class: 'input', count: 10, usd: '0', per: 1_000_000 },
      { class: 'output', count: 5, usd: '0', per: 1_000_000 },
      { class: 'request', count: 1, usd, per: 1 },
    ] as const,
    ...(now === undefined ? {} : { now }),
  };
}

function exact(numeric: string | undefined): string {
  return formatUsd(parseUsd(numeric ?? '0'));
}

/** The counters of a tenant's period as exact decimals. */
export async function countersOf(sql: Sql, tenantId: string, month?: string) {
  const [row] = await sql<{ reserved: string; spent: string; unknown: string }[]>`
    select coalesce(sum(reserved_usd), 0) as reserved, coalesce(sum(spent_usd), 0) as spent,
      coalesce(sum(unknown_usd), 0) as unknown
    from llm_budget_periods
    where tenant_id = ${tenantId} and (${month ?? null}::date is null or period_start = ${month ?? null}::date)`;
  return {
    reserved: exact(row?.reserved),
    spent: exact(row?.spent),
    unknown: exact(row?.unknown),
  };
}

/** Resolves once `count` sessions of this database wait for a lock, or soon after `end` has settled. */
export async function untilWaiting(sql: Sql, count: number, end?: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  void end?.finally(() => over.abort());
  while (!over.signal.aborted) {
    const [row] = await sql<{ waiting: number }[]>`
      select count(*)::int as waiting from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`;
    if ((row?.waiting ?? 0) >= count) return;
    await sleep(10);
  }
}
