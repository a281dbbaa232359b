/** Streams with every fault at once, beside the provider's own book: each of its lines is charged, or held as unknown. */
import { expect, it } from 'vitest';
import { parseUsd } from '../../../src/budget/money.ts';
import { faultyCall, llmAttempt, silentLog, useProvider } from '../../support/llm-attempt.ts';
import type { LlmAttempt } from '../../support/llm-attempt.ts';
import { wireProtocols } from '../../support/provider-protocols.ts';
import type { StreamFault } from '../../support/streaming/send-stream.ts';
import { addTenant } from '../../support/tenants.ts';

/** A hold of 0.10 USD; a token of output costs 0.001. */
const fixture = useProvider({ price: { model: 'ten-cents', input: 0, output: 1000 } });
const { apiKey, ...question } = faultyCall;
const faults: readonly (StreamFault | undefined)[] = [
  undefined,
  'cut',
  'cut_before_usage',
  'cut_after_usage',
  'hang',
  'error',
  'no_usage',
  'double_usage',
  'usage_in_middle',
  'garbage',
];

/** Reads the whole, leaves after the first text, lets its attempt end, or awaits the answer alone. */
async function readSomehow({ llm, controller }: LlmAttempt, how: number): Promise<void> {
  const stream = llm.stream(question);
  try {
    if (how === 3) await stream.answer;
    for await (const _ of stream) {
      if (how === 1) break;
      if (how === 2) controller.abort();
    }
  } catch {
    // As scripted.
  }
}

it('every line of the book is matched by its id: charged exactly, or unknown at no less', async () => {
  const { sql } = fixture.database;
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  const options = { drainLimits: { drainMs: 1_000 } };
  let next = 0;
  const total = faults.length * 4 * wireProtocols.length;
  const work = async (): Promise<void> => {
    while (next < total) {
      const at = next;
      next += 1;
      const kind = wireProtocols[at % wireProtocols.length] ?? 'openai';
      const baseUrl = fixture.provider.urls[kind];
      const config = { kind, model: 'ten-cents', apiKey, baseUrl, timeoutMs: 1_000 };
      const attempt = await llmAttempt(sql, tenantId, config, silentLog, options);
      await readSomehow(attempt, Math.floor(at / faults.length) % 4);
    }
  };
  for (let at = 0; at < total; at += 1) {
    const fault = faults[at % faults.length];
    const content = 'some words and more of them '.repeat(1 + (at % 3));
    fixture.provider.script({ kind: 'stream', content, ...(fault === undefined ? {} : { fault }) });
  }
  await Promise.all(Array.from({ length: 8 }, work));
  const held = async () => {
    const [row] = await sql<{ held: number }[]>`
      select count(*)::int as held from llm_reservations
      where tenant_id = ${tenantId} and status = 'RESERVED'`;
    return row?.held;
  };
  await expect.poll(held, { timeout: 10_000 }).toBe(0);
  const rows = await sql<{ requestId: string | null; status: string; charged: string }[]>`
    select r.request_id as "requestId", r.status, coalesce(u.cost_usd, r.estimated_cost_usd)::text as charged
    from llm_reservations r left join llm_usage u on u.reservation_id = r.id
    where r.tenant_id = ${tenantId} and r.status in ('APPLIED', 'UNKNOWN')`;
  const charges = new Map(rows.map((row) => [row.requestId, row]));
  const { book } = fixture.provider;
  expect([rows.length, charges.size, book.length]).toEqual([total, total, total]);
  for (const { requestId, usage } of book) {
    const { status, charged } = charges.get(requestId) ?? { status: '', charged: '0' };
    const billed = parseUsd(`${usage.completion_tokens / 1000}`);
    const isRight =
      status === 'APPLIED' ? parseUsd(charged) === billed : parseUsd(charged) >= billed;
    expect([requestId, status, isRight]).toEqual([requestId, expect.stringMatching(/./), true]);
  }
  const statuses = rows.map(({ status }) => status);
  expect(statuses.filter((status) => status === 'APPLIED').length).toBeGreaterThan(total / 5);
  expect(statuses.filter((status) => status === 'UNKNOWN').length).toBeGreaterThan(total / 5);
});
