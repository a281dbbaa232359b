/** A stop with aborts ends the calls that run: their cost is unknown, and their jobs park. Other calls go on. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { setStop } from '../../src/budget/stops.ts';
import type { StopTarget } from '../../src/budget/stops.ts';
import { createLlm } from '../../src/llm/create-llm.ts';
import type { AttemptLlm } from '../../src/llm/create-llm.ts';
import type { Sql } from '../../src/db/connect.ts';
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
  await sql`insert into llm_prices (model, input_usd_per_mtok, output_usd_per_mtok) values ('big', 1, 100)`;
});
beforeEach(() => sql`delete from llm_stops`);
afterAll(async () => {
  await assertBooksRight(sql);
  await provider.stop();
  await database.close();
});

async function llmOf(tenantId: string): Promise<AttemptLlm> {
  const gateway = createLlm({
    provider: { kind: 'openai', model: 'big', baseUrl: provider.url },
    budgetSql: sql,
  });
  const attempt = await startAttempt(sql, tenantId);
  return gateway.forAttempt({ ...attempt, signal: new AbortController().signal, log: silentLog });
}

const question = { system: 'Be brief.', prompt: 'Well?', json: false, maxOutputTokens: 100 };

/** Resolves when the provider has so many requests. */
async function untilReceived(count: number): Promise<void> {
  while (provider.received.length < count) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const stop = (target: StopTarget, aborts: boolean) =>
  setStop(sql, { ...target, aborts, reason: 'runaway', by: 'grace' });

it('a running call is ended, and its hold is unknown', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '10' });
  const { call } = await llmOf(tenantId);
  const before = provider.received.length;
  provider.script({ kind: 'hang' });
  const ended = call(question);
  ended.catch(() => {});
  await untilReceived(before + 1);
  await stop({ tenantId }, true);
  await expect(ended).rejects.toMatchObject({
    code: 'llm_stopped',
    details: { class: 'park', outcome: 'unknown' },
  });
  const { unknown, reserved } = await countersOf(sql, tenantId);
  expect([Number(unknown) > 0, reserved]).toEqual([true, '0']);
});

it('a running stream is ended as well', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '10' });
  const { stream } = await llmOf(tenantId);
  const before = provider.received.length;
  provider.script({ kind: 'hang' });
  const reader = { take: () => undefined, signal: new AbortController().signal };
  const ended = stream(question, reader);
  ended.catch(() => {});
  await untilReceived(before + 1);
  await stop({ provider: 'openai', model: 'big' }, true);
  await expect(ended).rejects.toMatchObject({ code: 'llm_stopped' });
  const { unknown, reserved } = await countersOf(sql, tenantId);
  expect([Number(unknown) > 0, reserved]).toEqual([true, '0']);
});

it('calls that a stop does not name, or whose stop does not abort, are answered', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '10' });
  const { call } = await llmOf(tenantId);
  const before = provider.received.length;
  let answer = (): void => {};
  const until = new Promise<void>((resolve) => (answer = resolve));
  provider.script({ kind: 'answer', until });
  const ended = call(question);
  await untilReceived(before + 1);
  await stop({ tenantId }, false);
  await stop({ model: 'other' }, true);
  // A call that is named is ended meanwhile, so that the stops were read.
  const other = await addTenant(sql, { limitUsd: '10' });
  provider.script({ kind: 'hang' });
  const named = (await llmOf(other)).call(question);
  named.catch(() => {});
  await untilReceived(before + 2);
  await stop({ tenantId: other }, true);
  await expect(named).rejects.toMatchObject({ code: 'llm_stopped' });
  answer();
  expect((await ended).text).not.toBe('');
});
