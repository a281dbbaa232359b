/** Answers and calls with values that the database or the SDK cannot take: every hold ends, and each error says why. */
import { expect, it } from 'vitest';
import { countersOf } from '../support/holds.ts';
import { failingCall, faultyCall, llmAttempt, useProvider } from '../support/llm-attempt.ts';
import { addTenant } from '../support/tenants.ts';

const fixture = useProvider({ price: { model: 'a-dollar-per-mtok', input: 1, output: 1 } });
const usage = { prompt_tokens: 1000, completion_tokens: 50 };
const choice = { index: 0, message: { role: 'assistant', content: 'ok' }, finish_reason: 'stop' };

async function ask(answer: object, model = 'a-dollar-per-mtok', maxOutputTokens = 100) {
  const { sql } = fixture.database;
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  const { llm } = await llmAttempt(sql, tenantId, {
    kind: 'openai',
    model,
    baseUrl: fixture.provider.url,
  });
  fixture.provider.script({ kind: 'raw', body: JSON.stringify(answer) });
  const outcome = await llm
    .generate({ ...faultyCall, maxOutputTokens })
    .catch((error: unknown) => error);
  return { outcome, counters: await countersOf(sql, tenantId), tenantId };
}

it.each([
  ['a NUL in its model', { model: 'a-dollar\u0000', choices: [choice] }],
  ['a NUL in its tier', { service_tier: 'gold\u0000', choices: [choice] }],
  ['half a character in its model', { model: 'a-dollar\uD83D', choices: [choice] }],
  ['a model of a megabyte', { model: 'm'.repeat(1_000_000), choices: [choice] }],
  ['a tier of a megabyte', { service_tier: 't'.repeat(1_000_000), choices: [choice] }],
])('an answer with %s is charged and given to the handler', async (_name, answer) => {
  const { outcome, counters, tenantId } = await ask({ usage, ...answer });
  expect(outcome).toMatchObject({ text: 'ok' });
  expect(counters).toMatchObject({ reserved: '0', unknown: '0' });
  const [row] = await fixture.database.sql<{ bytes: number }[]>`
    select octet_length(row(u.*)::text) as bytes from llm_usage u where tenant_id = ${tenantId}`;
  expect(row?.bytes).toBeLessThan(2_000);
});

it('an answer of more values than an answer has is charged, and not validated value by value', async () => {
  const { outcome, counters } = await ask({
    usage,
    choices: Array.from({ length: 300_000 }, () => 0),
  });
  expect(outcome).toMatchObject({
    code: 'llm_bad_response',
    message: expect.stringContaining('too many values'),
    details: { class: 'retry', outcome: 'settled' },
  });
  expect(counters).toEqual({ reserved: '0', spent: '0.00105', unknown: '0' });
});

it('a charge above every amount ends the hold as unknown, and the error names charge and model', async () => {
  await fixture.database.sql`
    insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok)
    values ('dear', '2020-01-01', 0, 1000000)`;
  const { outcome, counters } = await ask(
    { usage: { prompt_tokens: 1, completion_tokens: 1_000_000_000 }, choices: [choice] },
    'dear',
    10,
  );
  expect(outcome).toMatchObject({
    code: 'llm_charge_refused',
    message: expect.stringMatching(/charge of \$1000000000 .* model dear .* check the price/),
    details: { class: 'fatal', outcome: 'unknown' },
  });
  expect(counters).toEqual({ reserved: '0', spent: '0', unknown: '10' });
});

it('a call whose worst case is above every amount is refused with its cap', async () => {
  await fixture.database.sql`
    insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok)
    values ('dearer', '2020-01-01', 0, 1000000)`;
  const { outcome, counters } = await ask({}, 'dearer', 1_000_000_000);
  expect(outcome).toMatchObject({
    code: 'llm_request_too_large',
    message: expect.stringMatching(
      /maxOutputTokens 1000000000 may cost \$1000000000, .* check the price/,
    ),
    details: { class: 'fatal', outcome: 'released' },
  });
  expect(counters).toEqual({ reserved: '0', spent: '0', unknown: '0' });
  expect(fixture.provider.received).toEqual([]);
});

it('a TLS handshake that fails sent nothing: its hold is released, and the job waits', async () => {
  const baseUrl = fixture.provider.url.replace('http:', 'https:');
  const { tenantId, failure } = await failingCall(fixture.database.sql, { baseUrl });
  expect(await failure).toMatchObject({
    code: 'llm_unreachable',
    message: expect.stringContaining('ERR_SSL_WRONG_VERSION_NUMBER'),
    details: { class: 'snooze', outcome: 'released' },
  });
  const counters = await countersOf(fixture.database.sql, tenantId);
  expect(counters).toEqual({ reserved: '0', spent: '0', unknown: '0' });
});
