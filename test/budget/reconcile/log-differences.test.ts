/** A gateway's log that differs from the ledger: each difference has its own reason, to the nano-dollar. */
import { describe, expect, it } from 'vitest';
import { parseUsd } from '../../../src/budget/money.ts';
import { applyResolutions } from '../../../src/budget/reconcile/resolve.ts';
import { resolveUnknown } from '../../../src/budget/resolve.ts';
import { useProvider } from '../../support/llm-attempt.ts';
import { driftOf, reconcileText, useFolder } from './bench.ts';
import { usdOf } from './faulty-calls.ts';
import type { Billed } from './faulty-calls.ts';
import { callLogFile } from './files/call-log.ts';
import { callsWithFaults, everything, record } from './logged-calls.ts';
import { removeTenants } from '../../support/tenants.ts';

const fixture = useProvider();
const folder = useFolder();

describe('a log that differs', () => {
  it('tells each difference by its own reason, to the nano-dollar', async () => {
    const { sql, billed } = await callsWithFaults(fixture, 10, 1_000);
    const [first, second, third, fourth, fifth, sixth] = billed;
    if (!first || !second || !third || !fourth || !fifth || !sixth)
      throw new Error('too few calls');
    const priced = (one: Billed, atto: bigint): Billed => ({ ...one, atto });
    const usage = (one: Billed, output: number): Billed => ({
      ...one,
      entry: { ...one.entry, usage: { ...one.entry.usage, completion_tokens: output } },
    });
    const outputRate = BigInt(third.model.outputMicroUsd) * 10n ** 6n;
    const more = third.entry.usage.completion_tokens + 7;
    const stranger = { ...sixth.entry, clientRequestId: 'not-one-of-ours', requestId: 'req_x' };
    const text = callLogFile([
      // Another price: a tenth more.
      priced(first, (first.atto * 11n) / 10n),
      // Billed twice, under two ids of the provider: once at another cost.
      { ...priced(second, 5n * 10n ** 15n), entry: { ...second.entry, requestId: 'req_second' } },
      second,
      // Seven tokens of output more, at our price.
      priced(usage(third, more), third.atto + 7n * outputRate),
      // Both: the usage at our rates, the rest is the price.
      priced(usage(fourth, fourth.entry.usage.completion_tokens + 1), fourth.atto * 2n),
      // The fifth is missing; a stranger is there.
      { ...sixth, entry: stranger },
      ...billed.slice(5),
      // An export that overlaps: the same line once more.
      ...billed.slice(9),
    ]);
    const found = await reconcileText(sql, folder, text, everything());
    const fourthUsage = BigInt(fourth.model.outputMicroUsd) * 10n ** 6n;
    const [fifthCost] = await sql<{ cost: string }[]>`
      select cost_usd as cost from llm_usage where reservation_id = ${fifth.reservationId}`;
    const exact = (atto: bigint) => usdOf(atto).replace(/\.?0+$/, '');
    const drift = driftOf(found);
    expect(drift).toMatchObject({
      usage: exact(7n * outputRate + fourthUsage),
      billed_again: '0.005',
      missing_in_ledger: exact(sixth.atto),
      missing_in_file: `-${exact(parseUsd(fifthCost?.cost ?? '') * 10n ** 9n)}`,
    });
    // 12 decimals are what the log has of a tenth more.
    const tenth = BigInt(usdOf((first.atto * 11n) / 10n, 12).replace('.', '')) * 10n ** 6n;
    expect(drift['price']).toBe(exact(tenth - first.atto + fourth.atto - fourthUsage));
    expect(found.differences.map(({ reason }) => reason).toSorted()).toEqual(
      'billed_again missing_in_file missing_in_ledger price price usage usage'.split(' '),
    );
    expect(found.notes).toEqual(['1 lines repeat a request id and count once']);
    expect([found.matched, found.of]).toEqual([9, 11]);
  });

  it('without tokens it does not say whether price or usage differs', async () => {
    const { sql, billed } = await callsWithFaults(fixture, 3, 1_000);
    const rows = billed.map(
      ({ reservationId, atto }) => `${reservationId.toUpperCase()},${usdOf(atto * 2n)}`,
    );
    const found = await reconcileText(
      sql,
      folder,
      `client_request_id,cost\n${rows.join('\n')}\n`,
      everything(),
    );
    expect(Object.keys(driftOf(found))).toEqual(['rounding', 'unexplained']);
  });

  it('charges a released hold that was billed, and leaves a running one alone', async () => {
    const { sql, made, billed } = await callsWithFaults(fixture, 2, 1_000);
    const [released, running] = made;
    await sql`update llm_reservations set status = 'RELEASED' where id = ${released?.id ?? ''}`;
    await sql`update llm_reservations set status = 'RESERVED', closed_at = null where id = ${running?.id ?? ''}`;
    await sql`delete from llm_usage_items`;
    await sql`delete from llm_usage`;
    const found = await reconcileText(sql, folder, callLogFile(billed), everything());
    expect(Object.keys(driftOf(found))).toEqual(['released_but_billed', 'in_flight']);
    expect(found.resolutions.map(({ reservationId }) => reservationId)).toEqual([released?.id]);
    await removeTenants(sql);
  });

  it('a cost that cannot be recorded is told, and the others are recorded', async () => {
    const { sql, made, billed } = await callsWithFaults(fixture, 12, 4);
    const unknown = made.filter(({ status }) => status === 'UNKNOWN');
    const found = await reconcileText(sql, folder, callLogFile(billed), everything());
    const [late] = unknown;
    // The same evidence with another cost.
    const { evidence = '' } =
      found.resolutions.find(({ reservationId }) => reservationId === late?.id) ?? {};
    await resolveUnknown(sql, { reservationId: late?.id ?? '', costNanoUsd: 1n, evidence });
    const applied = await applyResolutions(sql, found.resolutions, record);
    expect(applied.resolved).toBe(unknown.length - 1);
    expect(applied.failed).toMatchObject([
      { reservationId: late?.id, why: expect.stringContaining('idempotency_conflict') },
    ]);
  });
});

describe('what was assumed', () => {
  it('is unknown until a log names its cost', async () => {
    const { sql, billed } = await callsWithFaults(fixture, 2, 1_000);
    await sql`alter table llm_usage add column if not exists assumed boolean not null default false`;
    const [first] = billed;
    await sql`update llm_usage set assumed = true where reservation_id = ${first?.reservationId ?? ''}`;
    const found = await reconcileText(sql, folder, callLogFile(billed), everything());
    expect(found.unknown).toMatchObject([{ reservationId: first?.reservationId }]);
    const silent = await reconcileText(sql, folder, callLogFile(billed.slice(1)), everything());
    expect(silent.resolutions).toMatchObject([
      { reservationId: first?.reservationId, costNanoUsd: 0n },
    ]);
  });
});

describe("the provider's own id", () => {
  it('finds the call where the log has no client id', async () => {
    const { sql, billed } = await callsWithFaults(fixture, 4, 1_000);
    // The gateway has stored them; one is forgotten.
    await sql`update llm_reservations set request_id = null where id = ${billed[0]?.reservationId ?? ''}`;
    const rows = billed.map(({ entry, atto }) => `${entry.requestId},${usdOf(atto)}`);
    const found = await reconcileText(
      sql,
      folder,
      `request_id,spend\n${rows.join('\n')}\n`,
      everything(),
    );
    expect([found.matched, found.of]).toEqual([3, 5]);
    expect(found.differences).toMatchObject([
      { reason: 'missing_in_ledger', requestId: billed[0]?.entry.requestId, line: 2 },
      { reason: 'missing_in_file', reservationId: billed[0]?.reservationId },
    ]);
  });
});
