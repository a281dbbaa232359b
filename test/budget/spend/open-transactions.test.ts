/** The sums by day with what the ledger has moved since are the ledger, beside every transaction. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { formatUsd, parseUsd } from '../../../src/budget/money.ts';
import { resolveUnknown } from '../../../src/budget/resolve.ts';
import { addUpSpend } from '../../../src/budget/spend/add-up.ts';
import { verifyBudgets } from '../../../src/budget/verify.ts';
import { connect } from '../../../src/db/connect.ts';
import type { Sql, Tx } from '../../../src/db/connect.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { addTenant } from '../../support/tenants.ts';
import { attemptOf, callOf } from '../report/calls.ts';
import { addUp, expectLedger, figuresOf, lastId, position } from './figures.ts';

let database: TestDatabase;
let sql: Sql;
let wide: Sql;
beforeAll(async () => {
  database = await freshDatabase();
  ({ sql } = database);
  wide = connect(database.url, { max: 12, applicationName: 'purser test fleet' });
});
afterEach(() => assertBooksRight(sql));
afterAll(async () => {
  await wide.end({ timeout: 5 });
  await database.close();
});

/** Settles in a transaction that ends when `end` is called. */
async function openSettlement(reservationId: string, costNanoUsd: bigint) {
  let end = (_commits: boolean): void => {};
  const ended = new Promise<boolean>((resolve) => {
    end = resolve;
  });
  let begun = (): void => {};
  const settled = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const done = wide
    .begin(async (tx: Tx) => {
      await resolveUnknown(tx, { reservationId, costNanoUsd, evidence: 'line', by: 'test' });
      begun();
      if (!(await ended)) throw new Error('rolled back');
    })
    .catch((error: unknown) => {
      if (!(error instanceof Error) || error.message !== 'rolled back') throw error;
    });
  await Promise.race([settled, done]);
  return {
    end: async (commits: boolean) => {
      end(commits);
      await done;
    },
  };
}

describe('beside open transactions', () => {
  it.each([
    ['commits', true, '0.000000003', '0.000000003'],
    ['is rolled back', false, '0.000000002', '0.000000002'],
  ])(
    'nothing of one that took its id first and %s last is missed or added twice',
    async (_, commits, both) => {
      const tenants = [
        await addTenant(sql, { limitUsd: '100' }),
        await addTenant(sql, { limitUsd: '100' }),
      ] as const;
      const ids: string[] = [];
      for (const tenantId of tenants) {
        const attempt = await attemptOf(sql, tenantId, 'open');
        ids.push(await callOf(sql, attempt, { hold: '1' }));
      }
      await addUp(sql);
      const before = await position(sql);
      expect(before).toBe(await lastId(sql));

      const first = await openSettlement(ids[0] ?? '', 1n);
      const second = await openSettlement(ids[1] ?? '', 2n);
      await second.end(true);
      const spent = async () => {
        const of = await Promise.all(tenants.map((tenantId) => figuresOf(sql, tenantId)));
        return formatUsd(of.reduce((sum, { total }) => sum + parseUsd(total.spentUsd), 0n));
      };
      for (let rounds = 0; rounds < 4; rounds += 1) {
        await addUpSpend(sql);
        expect(await spent()).toBe('0.000000002');
      }
      // The id of the open one is the first after the sums.
      expect(await position(sql)).toBe(before);

      await first.end(commits);
      expect(await spent()).toBe(both);
      await addUp(sql);
      expect(await position(sql)).toBeGreaterThanOrEqual(await lastId(sql));
      expect(await spent()).toBe(both);
    },
  );

  it('one that only reads the ledger, or has long been open elsewhere, holds nothing up', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '100' });
    await wide.begin('isolation level repeatable read', async (tx) => {
      await tx`select count(*) from llm_ledger`;
      await tx`insert into tenants (id) values (${`${tenantId}-other`})`;
      await callOf(sql, await attemptOf(sql, tenantId, 'open'), { hold: '1', cost: '0.5' });
      await addUp(sql);
      expect(await position(sql)).toBe(await lastId(sql));
    });
  });

  it('many calls, many schedulers and many readers leave sums that verify agrees with', async () => {
    const tenants = await Promise.all(
      Array.from({ length: 4 }, () => addTenant(sql, { limitUsd: '100' })),
    );
    const over = new AbortController();
    const sweeps = Array.from({ length: 3 }, async () => {
      while (!over.signal.aborted) await addUpSpend(wide);
    });
    const reads = (async () => {
      while (!over.signal.aborted) {
        const [read] = await wide<{ off: string }[]>`
          select (select coalesce(sum(spent_usd), 0) from (
              select spent_usd from llm_spend_days union all
              select spent_usd from llm_spend_moves where id > (select ledger_id from purser.llm_spend_position)) s)
            - (select coalesce(sum(spent_delta_usd), 0) from llm_ledger) as off`;
        expect(Number(read?.off)).toBe(0);
      }
    })();
    await Promise.all(
      tenants.map(async (tenantId) => {
        const attempt = await attemptOf(wide, tenantId, `busy_${tenantId.slice(-4)}`);
        for (let call = 0; call < 25; call += 1) {
          await callOf(wide, attempt, { hold: '0.01', cost: `0.00000000${(call % 9) + 1}` });
        }
      }),
    );
    over.abort();
    await Promise.all([...sweeps, reads]);
    await addUp(sql);
    expect(await position(sql)).toBe(await lastId(sql));
    expect((await verifyBudgets(sql, { full: true })).differences).toEqual([]);
  });

  it('refuse a transaction with one snapshot, which could miss a commit', async () => {
    const added = sql.begin(
      'isolation level repeatable read',
      (tx) => tx`
      select purser.add_up_spend(10)`,
    );
    await expect(added).rejects.toMatchObject({ code: 'PU102' });
  });

  it('a limit of ids is kept, and the rest follows', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '100' });
    await addUp(sql);
    const attempt = await attemptOf(sql, tenantId, 'limited');
    for (let call = 0; call < 5; call += 1) await callOf(sql, attempt, { hold: '1', cost: '0.1' });
    await sql`select purser.add_up_spend(3)`;
    const steps: number[] = [];
    for (let step = 0; step < 5; step += 1) {
      const [row] = await sql<{ ids: number }[]>`select purser.add_up_spend(3)::int as ids`;
      steps.push(row?.ids ?? -1);
      await expectLedger(sql, tenantId, '0.5');
    }
    expect(steps).toEqual([3, 3, 3, 1, 0]);
  });
});
