/** Bytes of LLM calls are bounded: per call, per thread of handlers, and in the supervisor. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createByteLimit } from '../../src/llm/byte-limit.ts';
import { maxCallBytes } from '../../src/llm/check-call.ts';
import { createLlm } from '../../src/llm/create-llm.ts';
import { createHandlerLlm } from '../../src/llm/handler-llm.ts';
import type { LlmCall } from '../../src/llm/llm.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { assertBooksRight } from '../support/ledger.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { startProvider } from '../support/provider.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

const reply = {
  text: 'ok',
  usage: { inputTokens: 1, outputTokens: 1 },
  costUsd: '0',
  analyst: { provider: 'test', model: 'm', offline: false },
};

/** Work that ends when it is told to. */
function manualWork() {
  const ends: (() => void)[] = [];
  const work = () =>
    new Promise<void>((resolve) => {
      ends.push(resolve);
    });
  return { ends, work };
}

describe('a byte limit', () => {
  it('starts what fits, in the order of arrival', async () => {
    const limit = createByteLimit(100);
    const { ends, work } = manualWork();
    const all = [60, 50, 40, 10].map((bytes) => limit.run(bytes, undefined, work));
    await sleep(0);
    // 50 does not fit beside 60, and 40 and 10 do not overtake it.
    expect(ends).toHaveLength(1);
    ends[0]?.();
    await all[0];
    expect(ends).toHaveLength(4);
    for (const end of ends) end();
    await Promise.all(all);
  });

  it('lets work larger than the limit run alone, and frees the bytes of work that fails', async () => {
    const limit = createByteLimit(100);
    await expect(
      limit.run(500, undefined, () => Promise.reject(new Error('failed'))),
    ).rejects.toThrow('failed');
    expect(await limit.run(100, undefined, () => Promise.resolve('done'))).toBe('done');
  });

  it('forgets what is aborted while it waits', async () => {
    const limit = createByteLimit(100);
    const { ends, work } = manualWork();
    const first = limit.run(100, undefined, work);
    const controller = new AbortController();
    const second = limit.run(100, controller.signal, work);
    const third = limit.run(100, undefined, work);
    controller.abort(new Error('deadline'));
    await expect(second).rejects.toThrow('deadline');
    ends[0]?.();
    await first;
    expect(ends).toHaveLength(2);
    ends[1]?.();
    await third;
  });
});

describe('a call', () => {
  it('of 50 MB is refused in the thread of its handler, 60 times at once', async () => {
    const calls: LlmCall[] = [];
    const llm = createHandlerLlm((call) => {
      calls.push(call);
      return Promise.resolve(reply);
    });
    const prompt = 'x'.repeat(50_000_000);
    const failures = await Promise.allSettled(
      Array.from({ length: 60 }, () => llm.generate({ system: '', prompt, maxOutputTokens: 1 })),
    );
    for (const failure of failures) {
      expect(failure).toMatchObject({
        status: 'rejected',
        reason: {
          code: 'usage',
          message: expect.stringMatching(/50000000 bytes.*at most 8388608/),
        },
      });
    }
    expect(calls).toHaveLength(0);
  });

  it('counts the bytes of its text, not its characters', async () => {
    const llm = createHandlerLlm(() => Promise.resolve(reply));
    const prompt = 'é'.repeat(maxCallBytes / 2);
    await llm.generate({ system: '', prompt, maxOutputTokens: 1 });
    await expect(llm.generate({ system: 'a', prompt, maxOutputTokens: 1 })).rejects.toThrow(
      /at most/,
    );
  });

  it('waits in its thread while the calls of its thread are too large together', async () => {
    const { ends, work } = manualWork();
    const llm = createHandlerLlm(async () => {
      await work();
      return reply;
    });
    const prompt = 'x'.repeat(maxCallBytes);
    const all = Array.from({ length: 10 }, () =>
      llm.generate({ system: '', prompt, maxOutputTokens: 1 }),
    );
    await sleep(10);
    expect(ends).toHaveLength(4);
    for (let done = 0; done < 10; done += 1) {
      ends[done]?.();
      await sleep(0);
    }
    await Promise.all(all);
  });
});

describe('the gateway', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await freshDatabase();
    await database.sql`
      insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok)
      values ('dollar', '2020-01-01', 1, 1)`;
  });
  afterAll(() => database.close());

  it('keeps calls waiting whose bytes do not fit, and an aborted one holds and sends nothing', async () => {
    const provider = await startProvider();
    let release = (): void => {};
    const until = new Promise<void>((resolve) => {
      release = resolve;
    });
    provider.script(...Array.from({ length: 2 }, () => ({ kind: 'answer', until }) as const));
    const tenantId = await addTenant(database.sql, { limitUsd: '100' });
    const attempt = await startAttempt(database.sql, tenantId);
    const gateway = createLlm({
      provider: { kind: 'openai', model: 'dollar', baseUrl: provider.url, apiKey: 'k' },
      budgetSql: database.sql,
      maxInFlightBytes: 25_000,
    });
    const controller = new AbortController();
    const { call } = gateway.forAttempt({ ...attempt, signal: controller.signal, log: silentLog });
    const other = gateway.forAttempt({
      ...attempt,
      signal: new AbortController().signal,
      log: silentLog,
    });
    const question = { system: '', prompt: 'x'.repeat(10_000), json: false, maxOutputTokens: 10 };
    const sent = [other.call(question), other.call(question)];
    await expect.poll(() => provider.received.length, { timeout: 20_000 }).toBe(2);
    const aborted = call(question);
    const waiting = other.call(question);
    await sleep(100);
    expect(provider.received).toHaveLength(2);
    controller.abort();
    await expect(aborted).rejects.toMatchObject({
      code: 'llm_aborted',
      details: { outcome: 'released' },
    });
    release();
    await Promise.all([...sent, waiting]);
    expect(provider.received).toHaveLength(3);
    await provider.stop();
    await assertBooksRight(database.sql);
  });
});
