/**
 * Calls of a production trace, with text in many scripts, through the gateway: no call is charged more than its hold,
 * whatever tokenizer the server has, and where it is known the hold is close to the bill. All 8,819 of them:
 * `npm run bench:hold-efficiency`.
 */
import { countTokens as countOfR50k } from 'gpt-tokenizer/encoding/r50k_base';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { holdEfficiency } from '../../../src/budget/hold-efficiency.ts';
import { useProvider } from '../../support/llm-attempt.ts';
import { asOpenAi, openAiOnLoopback } from '../../support/llm-trace/openai-host.ts';
import { replay, totalOf } from '../../support/llm-trace/replay.ts';
import { scripts } from '../../support/llm-trace/texts.ts';
import { traceAbsent, tracedCalls } from '../../support/llm-trace/trace.ts';
import type { CountTokens } from '../../support/provider-protocols.ts';

const fixture = useProvider();
let restore: () => void;
beforeAll(() => {
  restore = openAiOnLoopback();
});
afterAll(() => restore());

const callsOfEach = 3;
const sampled = callsOfEach * scripts.length;

async function replaySample(baseUrl: string) {
  const all = tracedCalls();
  const every = Math.floor(all.length / sampled);
  const calls = Array.from({ length: sampled }, (_, at) => all[at * every]).filter(
    (call) => call !== undefined,
  );
  const { provider, database } = fixture;
  const options = { sql: database.sql, provider, baseUrl, calls, speed: 1e9, maxInFlight: 4 };
  return replay(options);
}

describe.skipIf(traceAbsent !== '')(`the trace${traceAbsent}`, () => {
  it('at OpenAI: holds are at least 1.5 times as efficient as holds by bytes, and cover every call', async () => {
    const { provider, database } = fixture;
    const { tenantId, scripts: figures } = await replaySample(asOpenAi(provider.url));
    expect(figures.map(({ calls, beyondHold }) => [calls, beyondHold])).toEqual(
      scripts.map(() => [callsOfEach, 0]),
    );
    const { heldNanoUsd, byBytesNanoUsd, chargedNanoUsd } = totalOf(figures);
    expect(Number(byBytesNanoUsd) / Number(heldNanoUsd)).toBeGreaterThan(1.5);
    expect(provider.received).toHaveLength(sampled);
    expect(provider.received[0]?.headers.host).toMatch(/^api\.openai\.com:/);
    expect(provider.received[0]?.body).toMatchObject({
      max_completion_tokens: 2000,
      service_tier: 'default',
    });
    const [reported] = await holdEfficiency(database.sql, { tenantId });
    expect(reported).toMatchObject({ calls: sampled, heldNanoUsd, chargedNanoUsd, beyondHold: 0 });
  });

  it.each<readonly [string, CountTokens]>([
    ["GPT-2's tokens", (text) => countOfR50k(text)],
    ['a token for each byte', (text) => Buffer.byteLength(text)],
    ['a token for each byte of NFKC', (text) => Buffer.byteLength(text.normalize('NFKC'))],
    ['a token for each byte of NFD', (text) => Buffer.byteLength(text.normalize('NFD'))],
  ])('at a server that counts %s: every hold covers its call', async (_, count) => {
    const { provider } = fixture;
    provider.countWith(count);
    const { scripts: figures } = await replaySample(provider.url);
    expect(figures.map(({ calls, beyondHold }) => [calls, beyondHold])).toEqual(
      scripts.map(() => [callsOfEach, 0]),
    );
  });
});
