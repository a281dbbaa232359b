/** Streams that nobody reads to their end are read on for their usage: it is charged, or the hold is. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { LlmOptions } from '../../../src/llm/create-llm.ts';
import type { LlmError } from '../../../src/llm/llm.ts';
import { StreamWindow } from '../../../src/llm/streams/window.ts';
import { collectingLog } from '../../support/collecting-log.ts';
import { countersOf, untilWaiting } from '../../support/holds.ts';
import { faultyCall, llmAttempt, useProvider } from '../../support/llm-attempt.ts';
import { wireProtocols } from '../../support/provider-protocols.ts';
import type { WireProtocol } from '../../support/provider-protocols.ts';
import { addTenant } from '../../support/tenants.ts';

/** A hold of 0.10 USD; a token of output costs 0.001. */
const fixture = useProvider({ price: { model: 'ten-cents', input: 0, output: 1000 } });
const { apiKey, ...question } = faultyCall;
const content =
  'The umbrellas of Example Corp sell well, and the desert is a fine market for them.';

const held = { reserved: '0.1', spent: '0', unknown: '0' };
const unknown = { reserved: '0', spent: '0', unknown: '0.1' };
const nothing = { reserved: '0', spent: '0', unknown: '0' };
/** The cost of all that the provider has in its book. */
const billed = () => {
  const tokens = fixture.provider.billed.reduce((sum, one) => sum + one.completion_tokens, 0);
  return { reserved: '0', spent: `${tokens / 1000}`, unknown: '0' };
};

/** The middle of the provider's next streams: they go on when the returned function is called. */
function holdStreams(count = 1): () => void {
  let release = (): void => {};
  const until = new Promise<void>((resolve) => {
    release = resolve;
  });
  const script = { kind: 'stream', content, until } as const;
  fixture.provider.script(...Array.from({ length: count }, () => script));
  return () => release();
}

async function open(kind: WireProtocol, timeoutMs = 5_000, options: Partial<LlmOptions> = {}) {
  const tenantId = await addTenant(fixture.database.sql, { limitUsd: '1' });
  const baseUrl = fixture.provider.urls[kind];
  const config = { kind, model: 'ten-cents', apiKey, baseUrl, timeoutMs };
  const { log, lines } = collectingLog();
  const attempt = await llmAttempt(fixture.database.sql, tenantId, config, log, options);
  const counters = () => countersOf(fixture.database.sql, tenantId);
  const until = (expected: object) => expect.poll(counters, { timeout: 10_000 }).toEqual(expected);
  return { ...attempt, lines, counters, until };
}

describe.each(wireProtocols)('a stream of %s', (kind) => {
  it('that its handler leaves is charged by the usage that comes later', async () => {
    const release = holdStreams();
    const { llm, counters, until } = await open(kind);
    const stream = llm.stream(question);
    const texts: string[] = [];
    for await (const text of stream) {
      texts.push(text);
      break;
    }
    await expect(stream.answer).rejects.toMatchObject({
      code: 'llm_aborted',
      message: expect.stringMatching(/charged when the provider reports it/),
    });
    expect(await counters()).toEqual(held);
    release();
    await until(billed());
    expect(texts.join('').length).toBeLessThan(content.length);
  });

  it('whose attempt ends fails at once, and is charged by the usage that comes later', async () => {
    const release = holdStreams();
    const { llm, controller, counters, until } = await open(kind);
    let text = '';
    const reading = (async () => {
      for await (const more of llm.stream(question)) {
        text += more;
        controller.abort(new Error('deadline'));
      }
    })();
    await expect(reading).rejects.toMatchObject({
      code: 'llm_aborted',
      details: { outcome: 'unknown' },
    });
    expect(text).not.toBe('');
    expect(await counters()).toEqual(held);
    release();
    await until(billed());
  });

  it('that does not end in time fails at its timeout, and is charged by the usage that comes later', async () => {
    const release = holdStreams();
    const { llm, counters, until } = await open(kind, 300);
    await expect(llm.stream(question).answer).rejects.toMatchObject({
      code: 'llm_timeout',
      message: expect.stringMatching(/within 300 ms; it is read on for its usage/),
      details: { class: 'retry', outcome: 'unknown' },
    });
    expect(await counters()).toEqual(held);
    release();
    await until(billed());
  });

  it('that hangs is given up before its hold expires: the hold stays charged, with what was received', async () => {
    fixture.provider.script({ kind: 'stream', content, fault: 'hang' });
    const { llm, until, lines } = await open(kind, 400, { drainLimits: { drainMs: 400 } });
    await expect(llm.stream(question).answer).rejects.toMatchObject({ code: 'llm_timeout' });
    await until(unknown);
    await expect.poll(() => fixture.provider.open()).toBe(0);
    const [end] = lines.filter(({ event }) => event === 'budget_outcome_unknown');
    expect(end).toMatchObject({ requestId: 'req-1', receivedOutputTokens: 1 });
  });
});

it('a stream that is left before its response begins is charged by its usage', async () => {
  let release = (): void => {};
  const until = new Promise<void>((resolve) => {
    release = resolve;
  });
  // The head of the response waits too: a whole answer in place of the stream.
  const usage = '"usage":{"prompt_tokens":1,"completion_tokens":3}';
  const body = `data: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}],${usage}}\n\ndata: [DONE]\n\n`;
  fixture.provider.script({ kind: 'raw', body, type: 'text/event-stream', until });
  const attempt = await open('openai');
  const failure = attempt.llm.stream(question).answer.catch((error: LlmError) => error);
  await expect.poll(() => fixture.provider.received.length).toBe(1);
  attempt.controller.abort();
  expect(await failure).toMatchObject({ code: 'llm_aborted' });
  expect(await attempt.counters()).toEqual(held);
  release();
  await attempt.until({ reserved: '0', spent: '0.003', unknown: '0' });
});

it('closing the gateway ends what is read on, and waits for the ends of the holds', async () => {
  holdStreams(2);
  const attempt = await open('openai');
  for (const stream of [attempt.llm.stream(question), attempt.llm.stream(question)]) {
    for await (const _ of stream) break;
  }
  expect(await attempt.counters()).toEqual({ ...held, reserved: '0.2' });
  await attempt.gateway.close();
  expect(await attempt.counters()).toEqual({ ...unknown, unknown: '0.2' });
  holdStreams();
  for await (const _ of attempt.llm.stream(question)) break;
  await attempt.until({ ...unknown, unknown: '0.3' });
});

it('of too many that are read on the oldest are cut, so that their memory is bounded', async () => {
  const release = holdStreams(3);
  const limits = { maxBytes: 2 * 64 * 1024 + 2_000 };
  const attempt = await open('openai', 5_000, { drainLimits: limits });
  for (let count = 0; count < 3; count += 1) {
    for await (const _ of attempt.llm.stream(question)) break;
  }
  const poll = () => expect.poll(attempt.counters, { timeout: 10_000 });
  await poll().toEqual({ reserved: '0.2', spent: '0', unknown: '0.1' });
  release();
  const tokens = fixture.provider.billed[0]?.completion_tokens ?? 0;
  await poll().toEqual({ reserved: '0', spent: `${(2 * tokens) / 1000}`, unknown: '0.1' });
});

describe('nothing is sent, and nothing stays held,', () => {
  it('when the attempt has ended before', async () => {
    const attempt = await open('openai');
    attempt.controller.abort();
    await expect(attempt.llm.stream(question).answer).rejects.toMatchObject({
      code: 'llm_aborted',
      details: { outcome: 'released' },
    });
    expect(fixture.provider.received).toHaveLength(0);
    expect(await attempt.counters()).toEqual(nothing);
  });

  it('when the handler leaves while the money is reserved', async () => {
    const attempt = await open('openai');
    // The row of its budget's month, which the next reserve waits for.
    await attempt.llm.generate(question);
    const { spent } = await attempt.counters();
    const blocker = await fixture.database.sql.reserve();
    const iterator = attempt.llm.stream(question)[Symbol.asyncIterator]();
    try {
      await blocker`begin`;
      await blocker`select from llm_budget_periods where tenant_id = ${attempt.tenantId} for update`;
      const next = iterator.next();
      await untilWaiting(fixture.database.sql, 1);
      await iterator.return?.();
      expect(await next).toEqual({ done: true, value: undefined });
      await blocker`commit`;
    } finally {
      blocker.release();
    }
    await attempt.until({ reserved: '0', spent, unknown: '0' });
    expect(fixture.provider.received).toHaveLength(1);
  });
});

describe('a slow reader', () => {
  const long = 'some words '.repeat(90_000);
  const call = { ...question, json: false };

  it('holds up the provider, and gets all of the text', async () => {
    fixture.provider.script({ kind: 'stream', content: long, pieces: 200 });
    const { gateway, controller, log, ...attempt } = {
      ...(await open('openai')),
      ...collectingLog(),
    };
    let received = 0;
    const window = new StreamWindow((text) => {
      received += text.length;
    });
    const { stream } = gateway.forAttempt({ ...attempt, signal: controller.signal, log });
    const over = new AbortController();
    const reply = stream(call, window).finally(() => over.abort());
    await expect.poll(() => received).toBeGreaterThan(64 * 1024);
    await sleep(200);
    expect(received).toBeLessThan(300_000);
    let read = 0;
    while (!over.signal.aborted) {
      const unread = received - read;
      window.read(unread);
      read += unread;
      await sleep(0);
    }
    await reply;
    expect(received).toBe(long.length);
    await attempt.until(billed());
  });

  it('that reads nothing till the timeout fails, and its stream is charged by its usage', async () => {
    fixture.provider.script({ kind: 'stream', content: long, pieces: 200 });
    const { gateway, controller, log, ...attempt } = {
      ...(await open('openai', 500)),
      ...collectingLog(),
    };
    const { stream } = gateway.forAttempt({ ...attempt, signal: controller.signal, log });
    await expect(stream(call, new StreamWindow(() => {}))).rejects.toMatchObject({
      code: 'llm_timeout',
      message: expect.stringContaining('the handler left a part unread'),
    });
    await attempt.until(billed());
  });
});
