/** A request that does not fit is made in a cheaper form, which the budget chooses; the answer says which. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { setScope } from '../../src/budget/scopes.ts';
import { setStop } from '../../src/budget/stops.ts';
import { createLlm } from '../../src/llm/create-llm.ts';
import { createHandlerLlm } from '../../src/llm/handler-llm.ts';
import type { LlmDefaults } from '../../src/llm/ladder/defaults.ts';
import type { Llm } from '../../src/llm/llm.ts';
import type { Sql } from '../../src/db/connect.ts';
import { createMetrics } from '../../src/metrics.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { countersOf } from '../support/holds.ts';
import { assertBooksRight } from '../support/ledger.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { startProvider } from '../support/provider.ts';
import type { TestProvider } from '../support/provider.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

let database: TestDatabase;
let sql: Sql;
let provider: TestProvider;
beforeAll(async () => {
  database = await freshDatabase();
  ({ sql } = database);
  provider = await startProvider();
  // A dollar per million tokens of input, and of output 1,000, 100.
  await sql`
    insert into llm_prices (model, input_usd_per_mtok, output_usd_per_mtok)
    values ('big', 1, 1000), ('small', 1, 100)`;
});
beforeEach(() => sql`delete from llm_stops`);
afterAll(async () => {
  await assertBooksRight(sql);
  await provider.stop();
  await database.close();
});

async function llmOf(tenantId: string, defaults?: LlmDefaults): Promise<Llm> {
  const gateway = createLlm({
    provider: { kind: 'openai', model: 'big', baseUrl: provider.url },
    budgetSql: sql,
  });
  const attempt = await startAttempt(sql, tenantId);
  const { call } = gateway.forAttempt({
    ...attempt,
    signal: new AbortController().signal,
    log: silentLog,
  });
  return createHandlerLlm(call, undefined, undefined, defaults);
}

const lastBody = () => provider.received.at(-1)?.body;
const question = { system: 'Be brief.', prompt: 'Well?', maxOutputTokens: 100 };

it('the whole form, its fallback, a smaller output, and a refusal with what the cheapest form needs', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '0.12' });
  const llm = await llmOf(tenantId);
  const ladder = { ...question, fallbacks: [{ model: 'small' }], minOutputTokens: 10 };
  provider.answerWith('yes', { prompt_tokens: 10, completion_tokens: 100 });
  expect((await llm.generate(ladder)).analyst.model).toBe('big');
  // A hundred tokens of the big model cost $0.1, so that $0.02 is left: enough for the small one.
  expect((await llm.generate(ladder)).analyst.model).toBe('small');
  expect(lastBody()).toMatchObject({ model: 'small', max_tokens: 100 });
  provider.answerWith('yes', { prompt_tokens: 10, completion_tokens: 20 });
  const third = await llm.generate(ladder);
  expect(third.analyst.model).toBe('small');
  const cap = Number(lastBody()?.['max_tokens']);
  expect(cap).toBeGreaterThanOrEqual(10);
  expect(cap).toBeLessThan(100);
  const sent = provider.received.length;
  const small = { ...ladder, minOutputTokens: 100 };
  await expect(llm.generate(small)).rejects.toMatchObject({
    code: 'budget_exceeded',
    details: { scope: 'tenant', needed: expect.stringMatching(/^0\.01/) },
  });
  expect(provider.received).toHaveLength(sent);
  expect(await countersOf(sql, tenantId)).toMatchObject({ reserved: '0', unknown: '0' });
});

it('the forms of the handler are those of a call that names none, and raise no cap of it', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '0.06' });
  const llm = await llmOf(tenantId, {
    fallbacks: [{ model: 'small', maxOutputTokens: 1_000 }],
    minOutputTokens: 500,
  });
  provider.answerWith('yes', { prompt_tokens: 1, completion_tokens: 1 });
  // A hundred tokens of the big model would cost $0.1.
  expect((await llm.generate(question)).analyst.model).toBe('small');
  expect(lastBody()).toMatchObject({ model: 'small', max_tokens: 100 });
  const sent = provider.received.length;
  await expect(llm.generate({ ...question, fallbacks: [] })).rejects.toMatchObject({
    code: 'budget_exceeded',
    details: { needed: expect.stringMatching(/^0\.1/) },
  });
  // Its own smallest output, and no form that cannot have it.
  const own = { ...question, maxOutputTokens: 2_000, minOutputTokens: 1_500 };
  await expect(llm.generate(own)).rejects.toMatchObject({
    details: { needed: expect.stringMatching(/^1\.5/) },
  });
  expect(provider.received).toHaveLength(sent);
  // Down to the handler's smallest output: 500 tokens of the small model are $0.05.
  await llm.generate({ ...question, maxOutputTokens: 2_000 });
  const cap = Number(lastBody()?.['max_tokens']);
  expect([lastBody()?.['model'], cap >= 500, cap < 1_000]).toEqual(['small', true, true]);
});

it('a model that is stopped is passed over', async () => {
  const llm = await llmOf(await addTenant(sql, { limitUsd: '1' }));
  await setStop(sql, { model: 'big', aborts: false, reason: 'outage', by: 'grace' });
  provider.answerWith('yes', { prompt_tokens: 10, completion_tokens: 20 });
  const answer = await llm.generate({ ...question, fallbacks: [{ model: 'small' }] });
  expect(answer.analyst.model).toBe('small');
  await expect(llm.generate(question)).rejects.toMatchObject({ code: 'llm_stopped' });
});

it('each end user has a limit of its own', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '10' });
  await setScope(sql, {
    tenantId,
    kind: 'end_user',
    period: 'day',
    limitUsd: '0.15',
    hard: true,
    by: 'test',
  });
  const llm = await llmOf(tenantId);
  provider.answerWith('yes', { prompt_tokens: 10, completion_tokens: 100 });
  await llm.generate({ ...question, endUser: 'ada' });
  await expect(llm.generate({ ...question, endUser: 'ada' })).rejects.toMatchObject({
    details: { scope: 'end_user', scope_value: 'ada', period: 'day' },
  });
  await llm.generate({ ...question, endUser: 'bob' });
});

it('a request that cannot be written holds nothing, and a fallback without a price is named', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '10' });
  const llm = await llmOf(tenantId);
  await expect(
    llm.generate({ ...question, fallbacks: [{ model: 'unheard-of' }] }),
  ).rejects.toMatchObject({ code: 'model_unpriced', details: { model: 'unheard-of' } });
  expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0', spent: '0', unknown: '0' });
});

it('an attempt that ends after its reserve and before its request leaves nothing held', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '10' });
  const ending = new AbortController();
  const metrics = createMetrics();
  // Told with the answer of the reserve.
  metrics.budgetCheckSeconds.observe = () => ending.abort();
  const gateway = createLlm({
    provider: { kind: 'openai', model: 'big', baseUrl: provider.url },
    budgetSql: sql,
    metrics,
  });
  const attempt = await startAttempt(sql, tenantId);
  const { call } = gateway.forAttempt({ ...attempt, signal: ending.signal, log: silentLog });
  const sent = provider.received.length;
  const ladder = { ...question, json: false, fallbacks: [{ model: 'small' }] };
  await expect(call(ladder)).rejects.toMatchObject({ code: 'llm_aborted' });
  expect(provider.received).toHaveLength(sent);
  expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0', spent: '0', unknown: '0' });
});

it('a model that refuses JSON mode is asked again without it, in the form that fits', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '10' });
  const llm = await llmOf(tenantId);
  provider.script({
    kind: 'status',
    status: 400,
    body: JSON.stringify({
      error: { message: 'response_format is not supported', param: 'response_format' },
    }),
  });
  provider.answerWith('{"ok":true}', { prompt_tokens: 10, completion_tokens: 20 });
  const schema = {
    '~standard': { version: 1, vendor: 'test', validate: (value: unknown) => ({ value }) },
  } as const;
  const answer = await llm.generate({ ...question, schema, fallbacks: [{ model: 'small' }] });
  expect(answer.object).toEqual({ ok: true });
  expect(lastBody()).not.toHaveProperty('response_format');
});

const wrongFields: readonly (readonly [object, RegExp])[] = [
  [{ fallbacks: 'small' }, /fallbacks/],
  [{ fallbacks: [null] }, /fallbacks/],
  [{ fallbacks: Array.from({ length: 6 }, () => ({ model: 'small' })) }, /at most 5/],
  [{ fallbacks: [{ maxOutputTokens: -1 }] }, /maxOutputTokens of fallbacks\[0\]/],
  [{ fallbacks: [{ model: '' }] }, /model/],
  [{ minOutputTokens: 0 }, /minOutputTokens/],
  [{ minOutputTokens: 101 }, /must not be more/],
  [{ endUser: '' }, /endUser/],
  [{ endUser: 'a\nb' }, /endUser/],
  [{ endUser: 'x'.repeat(201) }, /endUser/],
];
it.each(wrongFields)('%j is refused before anything is reserved', async (wrong, message) => {
  const llm = await llmOf(await addTenant(sql, { limitUsd: '1' }));
  const call = llm.generate(Object.assign({}, question, wrong));
  await expect(call).rejects.toThrow(message);
});
