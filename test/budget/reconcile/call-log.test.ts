/**
 * A gateway's log made from the provider's own book, after calls of which one in twenty failed: every line finds its call,
 * every unknown cost is resolved at what the provider has, and nothing is left but rounding.
 */
import { describe, expect, it } from 'vitest';
import { applyResolutions } from '../../../src/budget/reconcile/resolve.ts';
import { useProvider } from '../../support/llm-attempt.ts';
import { driftOf, reconcileText, useFolder } from './bench.ts';
import { nanoCeilUsd, usdOf } from './faulty-calls.ts';
import type { Billed, LedgerCallRow } from './faulty-calls.ts';
import { callLogFile } from './files/call-log.ts';
import { callsWithFaults, everything, record } from './logged-calls.ts';

const fixture = useProvider();
const folder = useFolder();

const sum = (amounts: readonly bigint[]): bigint => amounts.reduce((a, b) => a + b, 0n);

/** The log's time is the test's own: the reservation is found by the id that was sent with the call. */
const idsSent = (billed: readonly Billed[]) =>
  billed.map(({ entry, reservationId }) => [entry.clientRequestId, reservationId]);

describe('a log of all calls', () => {
  it('matches every call, resolves every unknown, and leaves nothing but rounding', async () => {
    const { sql, made, billed } = await callsWithFaults(fixture, 240, 20);
    const statuses = (rows: readonly LedgerCallRow[], status: string) =>
      rows.filter((row) => row.status === status).length;
    // Four of each kind of fault; an error is billed to nobody.
    expect([statuses(made, 'UNKNOWN'), made.length - billed.length]).toEqual([12, 4]);
    expect(idsSent(billed)).toEqual(billed.map((one) => [one.reservationId, one.reservationId]));

    const text = callLogFile(billed);
    const before = await reconcileText(sql, folder, text, everything());
    expect(before).toMatchObject({ format: 'call-log', matched: billed.length, differences: [] });
    expect(before.fileUsd).toBe(usdOf(sum(billed.map(({ atto }) => atto))).replace(/0+$/, ''));
    const [counters] = await sql<{ charged: string }[]>`
      select trim_scale(sum(spent_usd + unknown_usd))::text as charged from llm_budget_periods`;
    expect(before.ledgerUsd).toBe(counters?.charged);
    expect(Object.keys(driftOf(before))).toEqual(['rounding', 'unknown_hold']);
    expect(before.unknown).toHaveLength(12);
    expect(before.unknown.filter(({ open }) => open !== undefined)).toEqual([]);

    expect(await applyResolutions(sql, before.resolutions, record)).toEqual({
      resolved: 12,
      failed: [],
    });
    const after = await reconcileText(sql, folder, text, everything());
    expect(after).toMatchObject({
      matched: billed.length,
      of: billed.length,
      unknown: [],
      resolutions: [],
    });
    expect(Object.keys(driftOf(after))).toEqual(['rounding']);
    // Call by call: what the provider has, rounded up once; nothing for what it never billed.
    const charged = await sql<{ id: string; status: string; cost: string }[]>`
      select r.id, r.status, u.cost_usd::text as cost
      from llm_reservations r left join llm_usage u on u.reservation_id = r.id`;
    const truth = new Map(billed.map(({ reservationId, atto }) => [reservationId, atto]));
    expect(charged.map(({ id, status, cost }) => [id, status, cost])).toEqual(
      charged.map(({ id }) => [id, 'APPLIED', nanoCeilUsd(truth.get(id) ?? 0n)]),
    );
  });

  it('without --complete, a call that the log does not name stays open, up to its hold', async () => {
    const { sql, made, billed } = await callsWithFaults(fixture, 24, 6);
    const found = await reconcileText(sql, folder, callLogFile(billed), {
      ...everything(),
      isComplete: false,
    });
    const open = found.unknown.filter(({ open: why }) => why !== undefined);
    const named = new Set(billed.map(({ reservationId }) => reservationId));
    const unnamed = made.filter(({ id, status }) => status === 'UNKNOWN' && !named.has(id));
    expect(open.map(({ reservationId }) => reservationId)).toEqual(unnamed.map(({ id }) => id));
    expect(unnamed.length).toBeGreaterThan(0);
    expect(open.map(({ lowUsd }) => lowUsd)).toEqual(open.map(() => '0'));
    expect(open.map(({ highUsd }) => highUsd)).toEqual(open.map(({ chargedUsd }) => chargedUsd));
    // Its life may go on behind the end of the range.
    const soon = await reconcileText(sql, folder, callLogFile(billed), {
      ...everything(),
      to: new Date(),
    });
    expect(soon.unknown.filter(({ open: why }) => why !== undefined)).toHaveLength(unnamed.length);
  });
});
