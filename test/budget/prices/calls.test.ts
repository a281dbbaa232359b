/** Calls are held and charged at the price that was in force when they were reserved. */
import { expect, it } from 'vitest';
import type { PinnedPrice } from '../../../src/budget/pinned-price.ts';
import { priceInForce } from '../../../src/budget/prices/in-force.ts';
import { setPrice } from '../../../src/budget/prices/set.ts';
import { syncPrices } from '../../../src/budget/prices/sync.ts';
import { llmAttempt, useProvider } from '../../support/llm-attempt.ts';
import { addTenant } from '../../support/tenants.ts';

const fixture = useProvider();

const ask = { system: 'Be brief.', prompt: 'How are the costs?', maxOutputTokens: 100 };
const full = { prompt_tokens: 20, completion_tokens: 100, total_tokens: 120 };

/** Input is free, so that holds do not depend on bytes. */
function setOutput(model: string, usd: string, tenantId: string | null = null, from?: Date) {
  return setPrice(fixture.database.sql, {
    tenantId,
    provider: null,
    model,
    rates: { input: { usd: '0' }, output: { usd } },
    from,
    by: 'test',
    reason: 'test',
  });
}

async function attemptOf(tenantId: string, model: string) {
  const { database, provider } = fixture;
  return llmAttempt(database.sql, tenantId, { kind: 'openai', model, baseUrl: provider.url });
}

async function reservationsOf(tenantId: string) {
  return fixture.database.sql<
    { price: PinnedPrice; held: string; cost: string; model: string; at: Date }[]
  >`
    select r.price, trim_scale(r.estimated_cost_usd)::text as held, trim_scale(u.cost_usd)::text as cost, r.model,
      r.created_at as at
    from llm_reservations r join llm_usage u on u.reservation_id = r.id
    where r.tenant_id = ${tenantId} order by r.created_at`;
}

it('a price that is set counts from the next call on, for its tenant alone, and pins its version', async () => {
  const { database, provider } = fixture;
  provider.answerWith('Fine.', full);
  const [mine, other] = [await addTenant(database.sql), await addTenant(database.sql)];
  await setOutput('contract-model', '100');
  const attempt = await attemptOf(mine, 'contract-model');
  await attempt.llm.generate(ask);
  const own = await setOutput('contract-model', '40', mine);
  await attempt.llm.generate(ask);
  await (await attemptOf(other, 'contract-model')).llm.generate(ask);

  const [before, after] = await reservationsOf(mine);
  expect(before).toMatchObject({ held: '0.01', cost: '0.01' });
  expect(after).toMatchObject({
    held: '0.004',
    cost: '0.004',
    price: { source: 'operator', version: own.version, provider: new URL(provider.url).host },
  });
  expect((await reservationsOf(other))[0]).toMatchObject({ held: '0.01', cost: '0.01' });
});

it('a call in flight is charged at its pinned price; what it should have cost is found by its reservation', async () => {
  const { database, provider } = fixture;
  const tenantId = await addTenant(database.sql);
  await setOutput('flying-model', '100', null, new Date('2020-01-01'));
  let answer = (): void => {};
  const until = new Promise<void>((resolve) => {
    answer = resolve;
  });
  provider.script({ kind: 'answer', until, usage: full });
  const { llm } = await attemptOf(tenantId, 'flying-model');
  const reply = llm.generate(ask);
  await expect.poll(() => provider.received.length).toBe(1);
  const corrected = await setOutput('flying-model', '30', null, new Date('2020-01-01'));
  answer();
  await reply;

  const [call] = await reservationsOf(tenantId);
  if (call === undefined) throw new Error('no reservation');
  expect(call).toMatchObject({ cost: '0.01', price: { rates: { output: { usd: '100' } } } });
  const { model, at, price } = call;
  const right = await priceInForce(database.sql, {
    tenantId,
    model,
    provider: price.provider,
    at,
  });
  expect(right).toMatchObject({ version: corrected.version, rates: { output: { usd: '30' } } });
  expect(right?.version).not.toBe(price.version);
});

it('a stored published price is pinned with its version, under the id of its model', async () => {
  const { database, provider } = fixture;
  await syncPrices(database.sql, { providers: ['openai'], by: 'test' });
  provider.answerWith('Fine.', full);
  const tenantId = await addTenant(database.sql, { limitUsd: '1' });
  const { llm } = await attemptOf(tenantId, 'gpt-4o-mini');
  await llm.generate(ask);
  const [call] = await reservationsOf(tenantId);
  expect(call).toMatchObject({
    // 20 * 0.15 + 100 * 0.6 USD per million tokens
    cost: '0.000063',
    price: {
      source: 'genai-prices',
      model: 'gpt-4o-mini',
      version: expect.stringMatching(/^\d+$/),
    },
  });
  expect(call?.price).not.toHaveProperty('packageVersion');
});

it('a model without a price is refused before anything is held or sent', async () => {
  const { database, provider } = fixture;
  const tenantId = await addTenant(database.sql, { limitUsd: '1' });
  const { llm } = await attemptOf(tenantId, 'nobody-knows');
  await expect(llm.generate(ask)).rejects.toMatchObject({
    code: 'model_unpriced',
    message: expect.stringContaining("purser prices set --model 'nobody-knows'"),
    details: { class: 'fatal' },
  });
  expect(provider.received).toEqual([]);
  expect(await database.sql`select from llm_reservations where tenant_id = ${tenantId}`).toEqual(
    [],
  );
});
