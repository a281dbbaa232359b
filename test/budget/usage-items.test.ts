/** Usage is stored item by item, and the items are the bill. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { costOfItems } from '../../src/budget/bill.ts';
import type { BillItem } from '../../src/budget/bill.ts';
import { formatUsd } from '../../src/budget/money.ts';
import { recordUsage } from '../../src/budget/settle.ts';
import { classRules, tokensOf, usageClasses } from '../../src/budget/usage-classes.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { assertBooksRight } from '../support/ledger.ts';
import { reserve } from '../support/holds.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(async () => {
  await assertBooksRight(database.sql);
  await database.close();
});

async function newHold() {
  const tenantId = await addTenant(database.sql, { limitUsd: '10' });
  return reserve(database.sql, await startAttempt(database.sql, tenantId), '0.5');
}

const items: readonly BillItem[] = [
  { class: 'input', count: 7, usd: '0.15', per: 1_000_000 },
  { class: 'cache_read', count: 3, usd: '0.0000001', per: 1_000_000 },
  { class: 'reasoning', count: 2, usd: '0.6', per: 1_000_000 },
  { class: 'web_search', count: 1, usd: '10', per: 1000 },
  { class: 'output_audio', count: 5, usd: null, per: 1_000_000 },
];

it('stores class, count, rate and amount, the sums of tokens, and what answered', async () => {
  const { reservationId } = await newHold();
  await recordUsage(database.sql, {
    reservationId,
    items,
    servedModel: 'gpt-4o-mini-2024-07-18',
    serviceTier: 'flex',
    uncovered: ['output_audio'],
  });
  const stored = await database.sql`
    select class, count::int, usd::text, per, trim_scale(amount_usd)::text as amount
    from llm_usage_items where reservation_id = ${reservationId} order by class`;
  expect([...stored]).toEqual([
    { class: 'cache_read', count: 3, usd: '0.0000001', per: 1_000_000, amount: '0.0000000000003' },
    { class: 'input', count: 7, usd: '0.15', per: 1_000_000, amount: '0.00000105' },
    { class: 'output_audio', count: 5, usd: null, per: 1_000_000, amount: '0' },
    { class: 'reasoning', count: 2, usd: '0.6', per: 1_000_000, amount: '0.0000012' },
    { class: 'web_search', count: 1, usd: '10', per: 1000, amount: '0.01' },
  ]);
  const [usage] = await database.sql`
    select input_tokens::int as input, output_tokens::int as output, cached_tokens::int as cached,
      reasoning_tokens::int as reasoning, items, served_model, service_tier, uncovered,
      trim_scale(cost_usd)::text as cost
    from llm_usage where reservation_id = ${reservationId}`;
  expect(usage).toEqual({
    input: 10,
    output: 7,
    cached: 3,
    reasoning: 2,
    items: 5,
    served_model: 'gpt-4o-mini-2024-07-18',
    service_tier: 'flex',
    uncovered: ['output_audio'],
    // 0.0000010500003 + 0.0000012 + 0.01, rounded up once
    cost: '0.010002251',
  });
});

it('another bill of the same amount for a settled reservation is a conflict; the same bill is not', async () => {
  const { reservationId } = await newHold();
  const bill = (name: string) => ({
    reservationId,
    items: [{ class: name, count: 1000, usd: '1', per: 1_000_000 } as const],
  });
  await recordUsage(database.sql, bill('input'));
  expect(await recordUsage(database.sql, bill('input'))).toMatchObject({ applied: false });
  await expect(recordUsage(database.sql, bill('cache_read'))).rejects.toMatchObject({
    code: 'idempotency_conflict',
  });
});

it('a cost that is not the sum of its items is refused', async () => {
  const { reservationId } = await newHold();
  const cost = costOfItems(items);
  const settle = (usd: string) => database.sql`
    select * from purser.budget_settle(${reservationId}::uuid, ${usd}::numeric,
      ${JSON.stringify(items)}::text::jsonb, null::text, null::text, '{}'::text[], null::text,
      null::timestamptz)`;
  await expect(settle(formatUsd(cost - 1n))).rejects.toMatchObject({ code: 'PU103' });
  await expect(settle(formatUsd(cost + 1n))).rejects.toMatchObject({ code: 'PU103' });
  await settle(formatUsd(cost));
});

it('the database sums the classes of usage as the code does', async () => {
  const rows = await database.sql<{ name: string; total: string }[]>`
    select name, purser.usage_total(name) as total from unnest(${[...usageClasses]}::text[]) name`;
  expect(Object.fromEntries(rows.map(({ name, total }) => [name, total]))).toEqual(
    Object.fromEntries(usageClasses.map((name) => [name, classRules[name].total])),
  );
  const one = Object.fromEntries(usageClasses.map((name) => [name, 1]));
  expect(tokensOf(one)).toEqual({
    inputTokens: 10,
    outputTokens: 6,
    cachedTokens: 4,
    reasoningTokens: 1,
  });
});
