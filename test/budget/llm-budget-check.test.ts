/** The customer's checklist by name: the whole way from a handler's call to the provider's own book. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BudgetExceededError } from '../../src/budget/budget-exceeded.ts';
import { budgetStatus } from '../../src/budget/budgets.ts';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { assertBooksRight } from '../support/ledger.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { llmAttempt } from '../support/llm-attempt.ts';
import { startProvider } from '../support/provider.ts';
import type { TestProvider } from '../support/provider.ts';
import { addTenant } from '../support/tenants.ts';

let database: TestDatabase;
let wide: Sql;
let provider: TestProvider;

beforeAll(async () => {
  database = await freshDatabase();
  wide = connect(database.url, { max: 20, applicationName: 'purser test fleet' });
  // 100 output tokens cost exactly 0.10 USD; input is free, so that holds do not depend on bytes.
  await database.sql`
    insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok)
    values ('ten-cents', '2020-01-01', 0, 1000)`;
});
afterAll(async () => {
  await wide.end({ timeout: 5 });
  await database.close();
});
beforeEach(async () => {
  provider = await startProvider();
});
afterEach(async () => {
  await assertBooksRight(database.sql);
  await provider.stop();
});

const tenCents = { system: 'Be brief.', prompt: 'How are the costs?', maxOutputTokens: 100 };
const full = { prompt_tokens: 20, completion_tokens: 100, total_tokens: 120 };

async function attemptOf(tenantId: string) {
  return llmAttempt(wide, tenantId, { kind: 'openai', model: 'ten-cents', baseUrl: provider.url });
}

async function statusOf(tenantId: string) {
  const [status] = await budgetStatus(database.sql, { tenantId });
  if (status === undefined) throw new Error(`no status of ${tenantId}`);
  return status;
}

describe('LLM budget check', () => {
  it('test_budget_exceeded_returns_402', async () => {
    const tenantId = await addTenant(database.sql, { limitUsd: '0.15' });
    provider.answerWith('Fine.', full);
    const { llm } = await attemptOf(tenantId);
    await llm.generate(tenCents);

    const refusal = await llm.generate(tenCents).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(BudgetExceededError);
    const { resetsAt } = await statusOf(tenantId);
    expect(refusal).toMatchObject({
      code: 'budget_exceeded',
      status: 402,
      fatal: false,
      details: {
        scope: 'tenant',
        limit: '0.15',
        used: '0.1',
        reserved: '0',
        needed: '0.1',
        resets_at: resetsAt.toISOString(),
      },
    });
    expect(provider.received).toHaveLength(1);
  });

  it('test_budget_reservation_is_atomic: of 50 parallel calls on a budget that fits 10, exactly 10 are sent', async () => {
    const tenantId = await addTenant(database.sql, { limitUsd: '1.00' });
    provider.answerWith('Fine.', full);
    const attempts = await Promise.all(Array.from({ length: 50 }, () => attemptOf(tenantId)));
    const results = await Promise.allSettled(attempts.map(({ llm }) => llm.generate(tenCents)));

    const refused = results.filter(
      (result) => result.status === 'rejected' && result.reason instanceof BudgetExceededError,
    );
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(10);
    expect(refused).toHaveLength(40);
    expect(provider.received).toHaveLength(10);
    expect(await statusOf(tenantId)).toMatchObject({
      spentUsd: '1',
      reservedUsd: '0',
      availableUsd: '0',
    });
  });

  it('test_usage_recorded_after_llm_call', async () => {
    const tenantId = await addTenant(database.sql, { limitUsd: '1.00' });
    provider.answerWith('Fine.', {
      prompt_tokens: 20,
      completion_tokens: 40,
      prompt_tokens_details: { cached_tokens: 8 },
      completion_tokens_details: { reasoning_tokens: 30 },
    });
    const { llm } = await attemptOf(tenantId);
    const answer = await llm.generate(tenCents);

    expect(answer).toMatchObject({
      text: 'Fine.',
      costUsd: '0.04',
      usage: { inputTokens: 20, outputTokens: 40 },
      analyst: { provider: 'openai', model: 'ten-cents', offline: false },
    });
    const usage = await database.sql`
      select u.input_tokens, u.output_tokens, u.cached_tokens, u.reasoning_tokens, u.cost_usd,
        u.overage_usd, r.status, r.estimated_cost_usd, r.sent_at is not null as sent
      from llm_usage u join llm_reservations r on r.id = u.reservation_id
      where u.tenant_id = ${tenantId}`;
    expect([...usage]).toEqual([
      {
        input_tokens: '20',
        output_tokens: '40',
        cached_tokens: '8',
        reasoning_tokens: '30',
        cost_usd: '0.040000000',
        overage_usd: '0.000000000',
        status: 'APPLIED',
        estimated_cost_usd: '0.100000000',
        sent: true,
      },
    ]);
    expect(await statusOf(tenantId)).toMatchObject({
      spentUsd: '0.04',
      reservedUsd: '0',
      availableUsd: '0.96',
    });
  });

  it('test_zero_budget_blocks_all_requests: even those without cost', async () => {
    await database.sql`
      insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok)
      values ('free', '2020-01-01', 0, 0)`;
    const tenantId = await addTenant(database.sql, { limitUsd: '0' });
    const { llm } = await attemptOf(tenantId);
    for (const model of ['ten-cents', 'free']) {
      await expect(llm.generate({ ...tenCents, model })).rejects.toMatchObject({
        code: 'budget_exceeded',
        status: 402,
        fatal: true,
      });
    }
    expect(provider.received).toHaveLength(0);
  });

  it('a call larger than the whole limit is fatal: neither waiting nor a new month can admit it', async () => {
    const tenantId = await addTenant(database.sql, { limitUsd: '0.05' });
    const { llm } = await attemptOf(tenantId);
    await expect(llm.generate(tenCents)).rejects.toMatchObject({
      fatal: true,
      details: { class: 'fatal', needed: '0.1', limit: '0.05' },
    });
  });
});
