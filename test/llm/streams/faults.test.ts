/**
 * Streams on a bad day, in each wire protocol: only a final figure of the provider settles; everything else stays charged
 * at the hold, with a lower bound of what was received.
 */
import { describe, expect, it } from 'vitest';
import type { LlmError } from '../../../src/llm/llm.ts';
import { collectingLog } from '../../support/collecting-log.ts';
import { countersOf } from '../../support/holds.ts';
import { faultyCall, llmAttempt, useProvider } from '../../support/llm-attempt.ts';
import { wireProtocols } from '../../support/provider-protocols.ts';
import type { WireProtocol } from '../../support/provider-protocols.ts';
import type { Scripted } from '../../support/provider.ts';
import type { StreamFault } from '../../support/streaming/send-stream.ts';
import { wireEvents } from '../../support/streaming/wire-events.ts';
import { addTenant } from '../../support/tenants.ts';

/** A hold of 0.10 USD; a token of output costs 0.001. */
const fixture = useProvider({ price: { model: 'ten-cents', input: 0, output: 1000 } });
const { apiKey, ...question } = faultyCall;
const content =
  'The umbrellas of Example Corp sell well, and the desert is a fine market for them.';

const unknown = { reserved: '0', spent: '0', unknown: '0.1' };

async function failingStream(kind: WireProtocol, script: Scripted, timeoutMs = 5_000) {
  fixture.provider.script(script);
  const tenantId = await addTenant(fixture.database.sql, { limitUsd: '1' });
  const baseUrl = fixture.provider.urls[kind];
  const config = { kind, model: 'ten-cents', apiKey, baseUrl, timeoutMs, maxResponseBytes: 4096 };
  const { log, lines } = collectingLog();
  const { llm } = await llmAttempt(fixture.database.sql, tenantId, config, log);
  const texts: string[] = [];
  let error: LlmError | undefined;
  try {
    for await (const text of llm.stream(question)) texts.push(text);
  } catch (thrown) {
    error = thrown as LlmError;
  }
  const [end] = lines.filter(({ event }) => event === 'budget_outcome_unknown');
  return {
    tenantId,
    error,
    text: texts.join(''),
    end,
    counters: await countersOf(fixture.database.sql, tenantId),
  };
}

const stream = (fault: StreamFault): Scripted => ({ kind: 'stream', content, pieces: 10, fault });

interface Expected {
  readonly code: string;
  readonly says: string;
  /** What the handler has got. */
  readonly text: 'half' | 'all' | 'none';
}
const unsettled: [string, Scripted, Expected][] = [
  [
    'cut in the middle',
    stream('cut'),
    { code: 'llm_connection_lost', says: 'broke after', text: 'half' },
  ],
  [
    'cut after its last text',
    stream('cut_before_usage'),
    { code: 'llm_connection_lost', says: 'broke after', text: 'all' },
  ],
  [
    'with an error event in the middle',
    stream('error'),
    { code: 'llm_provider_error', says: 'failed in the middle of its stream (', text: 'half' },
  ],
  [
    'without usage',
    stream('no_usage'),
    { code: 'llm_bad_response', says: 'without a final usage; check that', text: 'all' },
  ],
  [
    'with usage in the middle alone',
    stream('usage_in_middle'),
    { code: 'llm_bad_response', says: 'without a final usage', text: 'all' },
  ],
  [
    'that is empty',
    { kind: 'raw', body: '', type: 'text/event-stream' },
    { code: 'llm_bad_response', says: 'without a final usage', text: 'none' },
  ],
  [
    'that is a page of HTML',
    { kind: 'raw', body: '<html>Welcome</html>', type: 'text/html' },
    { code: 'llm_bad_response', says: 'without a final usage', text: 'none' },
  ],
  [
    'whose response hangs',
    { kind: 'hang' },
    { code: 'llm_timeout', says: 'within 300 ms', text: 'none' },
  ],
];

describe.each(wireProtocols)('a stream of %s', (kind) => {
  it.each(unsettled)('%s stays charged at its hold', async (name, script, expected) => {
    const timeoutMs = name.includes('hangs') ? 300 : 5_000;
    const found = await failingStream(kind, script, timeoutMs);
    expect(found.error).toMatchObject({
      name: 'LlmError',
      code: expected.code,
      details: { class: 'retry', outcome: 'unknown' },
    });
    expect(found.error?.message).toContain(expected.says);
    expect(found.error?.message).toContain('worst case stays charged');
    expect(`${found.error?.stack}${JSON.stringify(found.error)}`).not.toMatch(/sk-test|umbrellas/);
    const { half, all, none } = {
      half: content.slice(0, content.length / 2),
      all: content,
      none: '',
    };
    const least = { half: half.slice(0, 10), all, none }[expected.text];
    expect(found.text.startsWith(least)).toBe(true);
    expect(content.startsWith(found.text)).toBe(true);
    expect(found.text === content).toBe(expected.text === 'all');
    if (script.kind === 'hang') return;
    expect(found.counters).toEqual(unknown);
    const received = Number(found.end?.['receivedOutputTokens']);
    expect(received).toBeGreaterThanOrEqual(expected.text === 'none' ? 0 : 1);
    expect(received).toBeLessThanOrEqual(fixture.provider.billed[0]?.completion_tokens ?? 0);
    expect([undefined, 'req-1']).toContain(found.end?.['requestId']);
    expect(found.end?.['requestId'] === 'req-1' || expected.text === 'none').toBe(true);
  });

  it.each<[string, Scripted]>([
    ['that tells its usage twice', stream('double_usage')],
    ['cut after its usage', stream('cut_after_usage')],
    ['slow', { kind: 'stream', content, pieces: 10, pauseMs: 10 }],
  ])('%s is charged once, by its usage', async (_name, script) => {
    const found = await failingStream(kind, script);
    expect(found.error).toBeUndefined();
    expect(found.text).toBe(content);
    const tokens = fixture.provider.billed[0]?.completion_tokens ?? 0;
    expect(found.counters).toEqual({ reserved: '0', spent: `${tokens / 1000}`, unknown: '0' });
  });

  it('with an event that is not JSON fails its handler, and is charged by its usage', async () => {
    const found = await failingStream(kind, stream('garbage'));
    expect(found.error).toMatchObject({
      code: 'llm_bad_response',
      details: { outcome: 'settled' },
    });
    const tokens = fixture.provider.billed[0]?.completion_tokens ?? 0;
    expect(found.counters).toEqual({ reserved: '0', spent: `${tokens / 1000}`, unknown: '0' });
  });

  it('of more bytes than its answer may have is cut off', async () => {
    const endless = 'data: ' + 'x'.repeat(300_000);
    const body = { kind: 'raw', body: endless, type: 'text/event-stream' } as const;
    const found = await failingStream(kind, body);
    expect(found.error).toMatchObject({
      code: 'llm_response_too_large',
      details: { class: 'fatal', outcome: 'unknown' },
    });
    expect(found.counters).toEqual(unknown);
    const long = { kind: 'stream', content: 'word '.repeat(1_000), pauseMs: 10 } as const;
    expect(await failingStream(kind, long)).toMatchObject({
      error: { code: 'llm_response_too_large' },
      counters: unknown,
    });
  });

  it('of more text than its answer may have fails, also where its usage came with it', async () => {
    const { start, output, finish, usage, end } = wireEvents[kind]({
      content: 'word '.repeat(1_000),
      pieces: 4,
      toolCalls: [],
      finish: 'stop',
      model: 'm',
      requestId: 'r',
      billed: { prompt_tokens: 1, completion_tokens: 1 },
    });
    const body = [...start, ...output, ...finish, usage, ...end].join('');
    const found = await failingStream(kind, { kind: 'raw', body, type: 'text/event-stream' });
    expect(found.error).toMatchObject({ code: 'llm_response_too_large' });
  });

  it('of a server that cannot stream is charged by the usage of its answer', async () => {
    const usage =
      kind === 'google'
        ? { usageMetadata: { promptTokenCount: 9, candidatesTokenCount: 3, totalTokenCount: 12 } }
        : { usage: { prompt_tokens: 9, input_tokens: 9, completion_tokens: 3, output_tokens: 3 } };
    const found = await failingStream(kind, { kind: 'raw', body: JSON.stringify(usage) });
    expect(found.error).toMatchObject({
      code: 'llm_bad_response',
      details: { outcome: 'settled' },
    });
    expect(found.counters).toEqual({ reserved: '0', spent: '0.003', unknown: '0' });
  });
});

it.each(['openai', 'anthropic'] as const)(
  'a stream of %s that is over does not wait for the end of its connection',
  async (kind) => {
    const found = await failingStream(kind, stream('open_end'));
    expect(found).toMatchObject({ error: undefined, text: content });
    expect(found.counters.unknown).toBe('0');
  },
);

it('a connection that is refused releases the hold', async () => {
  await fixture.provider.stop();
  const found = await failingStream('openai', { kind: 'hang' });
  expect(found).toMatchObject({
    error: { code: 'llm_unreachable', details: { outcome: 'released' } },
    counters: { reserved: '0', spent: '0', unknown: '0' },
  });
});
