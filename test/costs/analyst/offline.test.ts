import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { findUnusualDays, modifiedZScore } from '../../../src/costs/analyst/statistics.ts';
import { readEvidence } from '../../../src/costs/analyst/evidence.ts';
import { analyseOffline } from '../../../src/costs/analyst/answer.ts';
import { offlineAnalyst } from '../../../src/costs/analyst/local-analyst.ts';
import { median } from '../../../src/costs/analysis/robust-statistics.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { llmAttempt } from '../../support/llm-attempt.ts';
import { addTenant } from '../../support/tenants.ts';

const schema = z.object({
  summary: z.string().min(1),
  anomalies: z.array(
    z.object({
      service: z.string(),
      day: z.string(),
      cost: z.number(),
      expected: z.number(),
      reason: z.string(),
    }),
  ),
  recommendations: z.array(
    z.object({
      title: z.string(),
      rationale: z.string(),
      estimatedMonthlySavingsUsd: z.number().nonnegative(),
    }),
  ),
});

const dayOf = (index: number) => new Date(Date.UTC(2026, 0, 1 + index)).toISOString().slice(0, 10);

/** Around `level` with a deterministic ripple of a few percent, and some days changed. */
function series(level: number, days: number, changed: Record<number, number> = {}) {
  return Array.from({ length: days }, (_, index) => ({
    day: dayOf(index),
    cost: changed[index] ?? level * (1 + 0.03 * Math.sin(index * 2.3)),
  }));
}

const evidence = {
  tenantId: 'acme',
  currency: 'USD',
  periodDays: 30,
  totalCost: '4815.20',
  services: [
    {
      service: 'Compute',
      total: '3510',
      previousTotal: '3050',
      daily: series(100, 37, { 33: 480 }),
    },
    { service: 'Storage', total: '1305', previousTotal: '900', daily: series(35, 37) },
  ],
  movers: [],
  idle: [
    { resourceId: 'vol-1', service: 'Storage', cost: '60', evidence: 'unattached for 30 days' },
    { resourceId: 'ip-2', service: 'Network', cost: '3.60', evidence: 'no traffic' },
  ],
};
const promptOf = (value: unknown) =>
  `Look.\n\n\`\`\`json\n${JSON.stringify(value)}\n\`\`\`\nThanks.`;

function find(daily: readonly { day: string; cost: number }[]) {
  return findUnusualDays({ service: 's', daily, total: 0, previousTotal: undefined }, 0);
}

describe('the statistics', () => {
  it('score by median and MAD, and by the mean deviation where the MAD is zero', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(median([])).toBe(0);
    expect(modifiedZScore(10, [1, 2, 3, 4, 5])).toBeCloseTo((0.6745 * 7) / 1, 10);
    expect(modifiedZScore(4, [2, 2, 2, 2, 4])).toBeCloseTo(2 / (1.253314 * 0.4), 10);
    expect(modifiedZScore(2, [2, 2, 2])).toBe(0);
    expect(modifiedZScore(3, [2, 2, 2])).toBe(Number.POSITIVE_INFINITY);
  });

  it('find a planted spike and a planted run, and nothing in a quiet, a growing or a weekly series', () => {
    expect(find(series(100, 90, { 60: 400 }))).toMatchObject([
      { day: dayOf(60), cost: 400, days: 1 },
    ]);
    expect(find(series(100, 90, { 60: 300, 61: 400, 62: 310 }))).toMatchObject([
      { day: dayOf(61), cost: 400, days: 3 },
    ]);
    expect(find(series(100, 90))).toEqual([]);
    expect(find(series(100, 90).map((d, i) => ({ ...d, cost: d.cost + i })))).toEqual([]);
    const weekly = series(100, 90).map((d, i) => ({ ...d, cost: i % 7 === 0 ? 400 : d.cost }));
    expect(find(weekly).filter(({ day }) => day > dayOf(14))).toEqual([]);
    expect(find(series(100, 6, { 5: 900 }))).toEqual([]);
  });
});

describe('the offline analysis', () => {
  it('names the planted spike, the idle resources with their monthly saving, and the growth', () => {
    const analysis = analyseOffline(promptOf(evidence));
    expect(analysis.anomalies).toMatchObject(
      [{ service: 'Compute', day: dayOf(33), cost: 480, reason: /modified z-score/ }].map(
        ({ reason, ...rest }) => ({ ...rest, reason: expect.stringMatching(reason) }),
      ),
    );
    expect(analysis.recommendations).toMatchObject([
      { title: 'Remove idle Storage resource vol-1', estimatedMonthlySavingsUsd: 60 },
      { title: 'Remove idle Network resource ip-2', estimatedMonthlySavingsUsd: 3.6 },
      { title: 'Check the growth of Storage', estimatedMonthlySavingsUsd: 0 },
    ]);
    expect(analysis.summary).toMatch(/^Offline statistical analysis: 4815\.20 USD over 30 days/);
    expect(analyseOffline(promptOf(evidence))).toEqual(analysis);
  });

  it('claims no savings in USD for costs in another currency', () => {
    const { recommendations } = analyseOffline(promptOf({ ...evidence, currency: 'EUR' }));
    expect(recommendations.map((r) => r.estimatedMonthlySavingsUsd)).toEqual([0, 0, 0]);
    expect(recommendations[0]?.rationale).toContain('60.00 EUR');
  });

  it.each([
    ['no block', 'How are the costs?'],
    ['a broken block', '```json\n{"services": [\n```'],
    ['a list', '```json\n[1]\n```'],
  ])('says that nothing could be analysed with %s', (_name, prompt) => {
    expect(analyseOffline(prompt)).toEqual({
      summary: expect.stringContaining('nothing could be analysed'),
      anomalies: [],
      recommendations: [],
    });
  });

  it('reads the valid parts of evidence that is incomplete or invalid', () => {
    for (const value of [
      {},
      { services: null, idle: 'none', totalCost: 'NaN', periodDays: -3 },
      {
        services: [{ service: 'A', daily: [{ day: '2026-01-01' }, { cost: 1 }, null] }],
        idle: [{}],
      },
    ]) {
      expect(schema.safeParse(analyseOffline(promptOf(value))).success).toBe(true);
      expect(readEvidence(promptOf(value))?.periodDays).toBeGreaterThanOrEqual(1);
    }
  });
});

describe('the offline analyst', () => {
  const offline = { kind: 'offline', analyst: offlineAnalyst } as const;
  let database: TestDatabase;
  beforeAll(async () => {
    database = await freshDatabase();
  });
  afterAll(async () => {
    await assertBooksRight(database.sql);
    await database.close();
  });
  const ask = { system: 'Analyse.', prompt: promptOf(evidence), schema, maxOutputTokens: 1500 };

  it('answers like a provider, is labelled as offline, and its calls are held and settled', async () => {
    const tenantId = await addTenant(database.sql, { limitUsd: '1' });
    const { llm } = await llmAttempt(database.sql, tenantId, offline);
    const answer = await llm.generate(ask);
    expect(answer.object?.anomalies).toHaveLength(1);
    expect(answer.analyst).toEqual({
      provider: 'offline',
      model: 'offline-analyst',
      offline: true,
    });
    expect(answer.costUsd).toBe('0');
    expect(answer.text).toMatch(/offline/i);
    expect(answer.text).not.toMatch(/\bLLM\b|language model|\bAI\b/);
    const rows = await database.sql`
      select r.status, r.provider, u.input_tokens > 0 as counted
      from llm_reservations r join llm_usage u on u.reservation_id = r.id
      where r.tenant_id = ${tenantId}`;
    expect([...rows]).toEqual([{ status: 'APPLIED', provider: 'offline', counted: true }]);
  });

  it('with the price of a named model it is charged to the budget, and a budget of zero refuses it', async () => {
    const priced = { ...offline, priceAs: 'gpt-4o-mini' } as const;
    const tenantId = await addTenant(database.sql, { limitUsd: '1' });
    const { llm } = await llmAttempt(database.sql, tenantId, priced);
    const { costUsd, usage } = await llm.generate(ask);
    const expected = (usage.inputTokens * 150 + usage.outputTokens * 600) / 1e9;
    expect(Number(costUsd)).toBeCloseTo(expected, 12);

    const broke = await addTenant(database.sql, { limitUsd: '0' });
    const refused = await llmAttempt(database.sql, broke, offline);
    await expect(refused.llm.generate(ask)).rejects.toMatchObject({ status: 402, fatal: true });
  });

  it('drops findings to stay within the output cap, and releases the hold where no answer fits', async () => {
    const tenantId = await addTenant(database.sql, { limitUsd: '1' });
    const { llm } = await llmAttempt(database.sql, tenantId, offline);
    const short = await llm.generate({ ...ask, maxOutputTokens: 200 });
    expect(short.usage.outputTokens).toBeLessThanOrEqual(200);
    expect(short.object?.recommendations.length).toBeLessThan(3);
    await expect(llm.generate({ ...ask, maxOutputTokens: 5 })).rejects.toMatchObject({
      code: 'llm_output_cap_too_small',
      details: { outcome: 'released' },
    });
  });

  it('a prompt of 200 KB without a word break counts its bytes', async () => {
    const tenantId = await addTenant(database.sql, { limitUsd: '1' });
    const { llm } = await llmAttempt(database.sql, tenantId, offline);
    const prompt = 'a'.repeat(200_000);
    const { usage } = await llm.generate({ system: '', prompt, maxOutputTokens: 100 });
    expect(usage.inputTokens).toBe(200_000);
  });

  it('without a schema it answers with its summary', async () => {
    const tenantId = await addTenant(database.sql, { limitUsd: '1' });
    const { llm } = await llmAttempt(database.sql, tenantId, offline);
    const { text, object } = await llm.generate({
      system: 'Analyse.',
      prompt: '<|endoftext|>',
      maxOutputTokens: 100,
    });
    expect(text).toMatch(/^Offline statistical analysis/);
    expect(object).toBeUndefined();
  });
});
