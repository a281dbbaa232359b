import { describe, expect, it, vi } from 'vitest';
import { holdEfficiency } from '../../src/budget/hold-efficiency.ts';
import { formatUsd } from '../../src/budget/money.ts';
import { connect } from '../../src/db/connect.ts';
import { createLlm } from '../../src/llm/create-llm.ts';
import { createHandlerLlm } from '../../src/llm/handler-llm.ts';
import { createMetrics } from '../../src/metrics.ts';
import { llmAttempt, silentLog, useProvider } from '../support/llm-attempt.ts';
import { addTenant, endAttempt, startAttempt } from '../support/tenants.ts';

const apiKey = 'sk-test-0123456789abcdef';
const question = { system: 'Be brief.', prompt: 'How are the costs?', maxOutputTokens: 200 };

const fixture = useProvider({ apiKey });

async function open(model = 'gpt-4o-mini') {
  const tenantId = await addTenant(fixture.database.sql, { limitUsd: '1' });
  const config = { kind: 'openai', model, apiKey, baseUrl: fixture.provider.url } as const;
  return llmAttempt(fixture.database.sql, tenantId, config);
}

describe('nothing is sent', () => {
  it('when the model has no price', async () => {
    const { llm } = await open('my-own-model');
    await expect(llm.generate(question)).rejects.toMatchObject({ code: 'model_unpriced' });
    expect(fixture.provider.received).toHaveLength(0);
  });

  it('when the attempt is no longer the running one', async () => {
    const attempt = await open();
    await endAttempt(fixture.database.sql, attempt);
    await expect(attempt.llm.generate(question)).rejects.toMatchObject({ code: 'stale_token' });
    expect(fixture.provider.received).toHaveLength(0);
  });

  it('when the cap is not a positive whole number', async () => {
    const { llm } = await open();
    for (const maxOutputTokens of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      await expect(llm.generate({ ...question, maxOutputTokens })).rejects.toThrow(/at least 1/);
    }
    expect(fixture.provider.received).toHaveLength(0);
  });

  it('when the database is unavailable', async () => {
    const attempt = await startAttempt(fixture.database.sql, await addTenant(fixture.database.sql));
    const away = connect('postgres://nobody@127.0.0.1:1/none', {
      max: 1,
      applicationName: 'purser test',
    });
    const gateway = createLlm({
      provider: { kind: 'openai', model: 'gpt-4o-mini', apiKey, baseUrl: fixture.provider.url },
      budgetSql: away,
    });
    const signal = new AbortController().signal;
    const llm = createHandlerLlm(
      gateway.forAttempt({ ...attempt, signal, log: silentLog }).call,
      gateway.countAnswer,
    );
    await expect(llm.generate(question)).rejects.toMatchObject({
      code: 'store_unavailable',
      status: 503,
      // The job waits and its attempt does not count.
      details: { class: 'snooze', retryAfterMs: expect.any(Number) },
    });
    await away.end();
    expect(fixture.provider.received).toHaveLength(0);
  });
});

describe('the gateway', () => {
  it('counts calls, measures budget checks, and prints nothing', async () => {
    const printed = vi.spyOn(console, 'warn');
    const metrics = createMetrics();
    const tenantId = await addTenant(fixture.database.sql, { limitUsd: '1' });
    const gateway = createLlm({
      provider: { kind: 'openai', model: 'gpt-4o-mini', apiKey, baseUrl: fixture.provider.url },
      budgetSql: fixture.database.sql,
      metrics,
    });
    expect(gateway.analyst).toEqual({ provider: 'openai', model: 'gpt-4o-mini', offline: false });
    const attempt = await startAttempt(fixture.database.sql, tenantId);
    const signal = new AbortController().signal;
    const llm = createHandlerLlm(
      gateway.forAttempt({ ...attempt, signal, log: silentLog }).call,
      gateway.countAnswer,
    );
    await llm.generate(question);
    fixture.provider.script({ kind: 'status', status: 500 });
    await llm.generate(question).catch(() => {});
    const text = await metrics.registry.metrics();
    expect(text).toContain('llm_api_calls_total{status="ok"} 1');
    expect(text).toContain('llm_api_calls_total{status="llm_provider_error"} 1');
    expect(text).toContain('llm_budget_check_duration_seconds_count 2');
    // Of the call that was settled; the hold of the other was released.
    const [settled] = await holdEfficiency(fixture.database.sql, { tenantId });
    expect(settled).toMatchObject({ model: 'gpt-4o-mini', calls: 1, beyondHold: 0 });
    const usd = (nanoUsd = 0n) => Number(formatUsd(nanoUsd));
    expect(text).toContain(`llm_held_usd_total{model="gpt-4o-mini"} ${usd(settled?.heldNanoUsd)}`);
    expect(text).toContain(
      `llm_charged_usd_total{model="gpt-4o-mini"} ${usd(settled?.chargedNanoUsd)}`,
    );
    expect(printed).not.toHaveBeenCalled();
    printed.mockRestore();
  });
});
