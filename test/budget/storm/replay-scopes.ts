/**
 * Judges the admissions of a storm by the limits of scopes. The place of an entry is taken under the locks of its month
 * and of its scopes, and that of a limit under those of all months, so their order is the lock order of both.
 */
import { parseUsd } from '../../../src/budget/money.ts';
import type { Sql } from '../../../src/db/connect.ts';
import type { EntryRow } from './lock-order.ts';

interface ScopeLimit {
  readonly place: string;
  readonly scopeId: string;
  readonly tenantId: string;
  readonly kind: string;
  readonly subject: string;
  readonly limitUsd: string | null;
  readonly limitCalls: string | null;
  readonly hard: boolean;
}

interface PinRow {
  readonly reservationId: string;
  readonly periodId: string;
  readonly scopeId: string;
  readonly value: string;
}

interface Counters {
  usd: bigint;
  calls: number;
}

export interface ReplayedScopes {
  readonly overspends: number;
  readonly overspentNanoUsd: bigint;
  readonly faults: readonly string[];
}

export async function replayScopes(
  sql: Sql,
  entries: readonly EntryRow[],
): Promise<ReplayedScopes> {
  const limits = await sql<ScopeLimit[]>`
    select place, scope_id as "scopeId", tenant_id as "tenantId", kind, subject, limit_usd as "limitUsd",
      limit_calls as "limitCalls", hard
    from storm_scope_limits order by place`;
  const pins = new Map<string, PinRow[]>();
  for (const pin of await sql<PinRow[]>`
    select n.reservation_id as "reservationId", p.id as "periodId", p.scope_id as "scopeId", p.value
    from llm_pins n join llm_scope_periods p on p.id = n.scope_period_id`) {
    pins.set(pin.reservationId, [...(pins.get(pin.reservationId) ?? []), pin]);
  }
  const current = new Map<string, ScopeLimit>();
  const counted = new Map<string, Counters>();
  const released = new Set<string>();
  let [next, overspends, overspentNanoUsd] = [0, 0, 0n];
  for (const entry of entries) {
    if (entry.place === null) continue;
    for (; next < limits.length; next += 1) {
      const limit = limits[next];
      if (limit === undefined || BigInt(limit.place) > BigInt(entry.place)) break;
      current.set(limit.scopeId, limit);
    }
    const usd = -parseUsd(entry.available);
    const billed = entry.event === 'settle' && released.delete(entry.reservationId);
    if (entry.event === 'release') released.add(entry.reservationId);
    const calls = entry.event === 'reserve' || billed ? 1 : entry.event === 'release' ? -1 : 0;
    for (const pin of pins.get(entry.reservationId) ?? []) {
      const before = counted.get(pin.periodId) ?? { usd: 0n, calls: 0 };
      const after = { usd: before.usd + usd, calls: before.calls + calls };
      counted.set(pin.periodId, after);
      const limit = current.get(pin.scopeId);
      if (entry.event !== 'reserve' || limit?.hard !== true || !binds(current, limit, pin))
        continue;
      const over = limit.limitUsd === null ? 0n : after.usd - parseUsd(limit.limitUsd);
      if (over <= 0n && after.calls <= Number(limit.limitCalls ?? Infinity)) continue;
      overspends += 1;
      if (over > 0n) overspentNanoUsd += over < usd ? over : usd;
    }
  }
  return { overspends, overspentNanoUsd, faults: await compareCounters(sql, counted) };
}

/** A scope of each binds what has no scope of its own. */
const binds = (current: ReadonlyMap<string, ScopeLimit>, limit: ScopeLimit, pin: PinRow): boolean =>
  limit.kind === 'tenant' ||
  limit.subject !== '*' ||
  ![...current.values()].some(
    ({ tenantId, kind, subject }) =>
      tenantId === limit.tenantId && kind === limit.kind && subject === pin.value,
  );

async function compareCounters(
  sql: Sql,
  counted: ReadonlyMap<string, Counters>,
): Promise<string[]> {
  const rows = await sql<{ id: string; used: string; calls: number }[]>`
    select id, reserved_usd + spent_usd + unknown_usd as used, calls::int from llm_scope_periods`;
  return rows.flatMap(({ id, used, calls }) => {
    const { usd, calls: called } = counted.get(id) ?? { usd: 0n, calls: 0 };
    return usd === parseUsd(used) && called === calls
      ? []
      : [`period ${id} of a scope has ${used} in ${calls} calls, not ${usd} nano-USD in ${called}`];
  });
}
