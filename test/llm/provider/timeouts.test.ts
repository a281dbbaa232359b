/** The timeout of a call: its own, its handler's, its model's or the usual one; the job's deadline bounds its hold. */
import { gatherCharges } from '../../../src/budget/charges.ts';
import { expect, it } from 'vitest';
import { openHold, releaseHold } from '../../../src/llm/holds.ts';
import { createHandlerLlm } from '../../../src/llm/handler-llm.ts';
import { faultyCall, llmAttempt, silentLog, useProvider } from '../../support/llm-attempt.ts';
import { addTenant } from '../../support/tenants.ts';

const fixture = useProvider({ price: { model: 'ten-cents', input: 0, output: 1000 } });
const { apiKey, ...question } = faultyCall;

async function open(config: { timeoutMs?: number; modelTimeoutsMs?: ReadonlyMap<string, number> }) {
  const tenantId = await addTenant(fixture.database.sql, { limitUsd: '1' });
  const baseUrl = fixture.provider.url;
  const provider = { kind: 'openai', model: 'ten-cents', apiKey, baseUrl, ...config } as const;
  return llmAttempt(fixture.database.sql, tenantId, provider);
}

it.each<[string, number | undefined, number | undefined, ReadonlyMap<string, number>, number]>([
  ['its own', 100, 5_000, new Map([['ten-cents', 5_000]]), 100],
  ["its handler's", undefined, 110, new Map([['ten-cents', 5_000]]), 110],
  ["its model's", undefined, undefined, new Map([['ten-cents', 120]]), 120],
  ['the usual one', undefined, undefined, new Map([['other', 5_000]]), 130],
])('a call ends at %s', async (_name, timeoutMs, llmTimeoutMs, modelTimeoutsMs, expected) => {
  const attempt = await open({ timeoutMs: 130, modelTimeoutsMs });
  const signal = new AbortController().signal;
  const { call } = attempt.gateway.forAttempt({ ...attempt, signal, log: silentLog, llmTimeoutMs });
  fixture.provider.script({ kind: 'hang' });
  const request = { ...question, ...(timeoutMs === undefined ? {} : { timeoutMs }) };
  await expect(createHandlerLlm(call).generate(request)).rejects.toMatchObject({
    code: 'llm_timeout',
    message: expect.stringContaining(`within ${expected} ms; `),
  });
});

it('a hold expires a minute after the timeout of its call, or after the deadline of its job where that is earlier', async () => {
  const attempt = await open({});
  const account = {
    ...attempt,
    signal: attempt.controller.signal,
    sql: fixture.database.sql,
    charges: gatherCharges(fixture.database.sql),
    onBudgetCheck: () => {},
    log: silentLog,
  };
  const price = { source: 'test', model: 'm', rates: {} };
  const about = { provider: 'openai', model: 'ten-cents', price, inputTokens: 0 };
  const expiry = async (deadlineMs: number | undefined) => {
    const deadlineAtMs = deadlineMs === undefined ? undefined : performance.now() + deadlineMs;
    const request = { ...about, maxOutputTokens: 1, timeoutMs: 100_000 };
    const hold = await openHold({ ...account, deadlineAtMs }, request);
    const [row] = await fixture.database.sql<{ seconds: number }[]>`
      select extract(epoch from expires_at - created_at)::float as seconds
      from llm_reservations where id = ${hold.reservationId}`;
    await releaseHold(account, hold);
    return Math.round((row?.seconds ?? 0) / 20) * 20;
  };
  expect(await expiry(undefined)).toBe(160);
  expect(await expiry(600_000)).toBe(160);
  expect(await expiry(40_000)).toBe(100);
  expect(await expiry(-1)).toBe(60);
});
