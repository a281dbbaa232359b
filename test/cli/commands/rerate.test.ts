/** `purser prices rerate`. */
import { expect, it } from 'vitest';
import { billOf } from '../../../src/budget/bill.ts';
import { setPrice } from '../../../src/budget/prices/set.ts';
import { markUnknown, recordUsage } from '../../../src/budget/settle.ts';
import { reserve } from '../../support/holds.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';
import { useCliDatabase } from '../cli-database.ts';

const cli = useCliDatabase();
const run = (...options: string[]) => cli.invoke('prices', 'rerate', '--model', 'm', ...options);
const price = {
  source: 'operator',
  model: 'm',
  provider: 'groq',
  rates: { input: { usd: '1' }, output: { usd: '1' } },
} as const;

it('shows what would change and what is left, writes it with --apply, and says so when repeated', async () => {
  const tenantId = await addTenant(cli.sql, { limitUsd: '10' });
  const now = new Date('2026-03-10T12:00:00Z');
  const hold = async (): Promise<string> => {
    const attempt = await startAttempt(cli.sql, tenantId);
    return (await reserve(cli.sql, attempt, '1', { model: 'm', price, now })).reservationId;
  };
  const reservationId = await hold();
  await recordUsage(cli.sql, { reservationId, ...billOf(price, { input: 100_000 }), now });
  const unknown = await hold();
  await markUnknown(cli.sql, { reservationId: unknown, now });
  const rates = { input: { usd: '2.5' }, output: { usd: '1' } };
  const why = { from: new Date('2026-01-01'), by: 'grace', reason: 'wrong' };
  await setPrice(cli.sql, { tenantId: null, provider: null, model: 'm', rates, ...why });

  const range = ['--from', '2026-03-01', '--to', '2026-04-01T00:00:00Z', '--provider', 'groq'];
  const preview = await run(...range);
  expect([preview.code, preview.err]).toEqual([0, '']);
  expect(preview.out).toMatch(new RegExp(`${tenantId} +2026-03 +1 +0.1 +0.25 +0.15`));
  expect(preview.out).toContain(
    `left as charged: 1 of 2 calls, 1 USD: its cost is unknown: the hold stays charged until it is resolved; e.g. reservation ${unknown}`,
  );
  expect(preview.out).toContain(
    '1 of 2 calls would change; nothing was written: repeat with --apply --reason TEXT',
  );
  expect((await run(...range.slice(0, 4), '--provider', 'openai')).out).toBe(
    '0 calls in this range; no cost changes',
  );
  const applied = await run(...range, '--apply', '--reason', 'wrong', '--by', 'grace', '--json');
  expect([applied.code, JSON.parse(applied.out)]).toEqual([
    0,
    {
      looked: 2,
      sums: [
        {
          tenantId,
          month: '2026-03',
          calls: 1,
          beforeNanoUsd: '100000000',
          afterNanoUsd: '250000000',
        },
      ],
      left: [
        {
          reason: 'unknown',
          detail: null,
          calls: 1,
          chargedNanoUsd: '1000000000',
          reservations: [unknown],
        },
      ],
      repeated: 0,
      changedMeanwhile: 0,
      applied: true,
    },
  ]);
  expect((await run(...range, '--tenant', tenantId)).out).toContain('no cost changes');
  await assertBooksRight(cli.sql);
});

it.each([
  [['--from', '2026-01-01', '--apply'], 64, '--apply needs --reason TEXT'],
  [[], 64, '--from'],
  [['--from', 'yesterday'], 64, '--from must be a date or a time with its zone'],
  [['--from', '2026-02-01', '--to', '2026-02-01'], 64, '--to must be later than --from'],
  [['--from', '2026-02-01', '--provider', 'opnai'], 64, 'there is no provider "opnai"'],
  [['--from', '2026-02-01', '--tenant', 'nobody'], 1, 'nobody'],
])('%j is refused', async (options, code, said) => {
  expect(await run(...options)).toMatchObject({ code, err: expect.stringContaining(said) });
});
