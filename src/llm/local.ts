/**
 * The offline analyst: statistics behind the same interface as a provider, held and settled like one, and
 * labelled as offline in every answer. Free, unless its tokens are priced like a named model's.
 */
import { formatUsd } from '../budget/money.ts';
import { priceOf } from '../budget/prices.ts';
import type { PinnedPrice } from '../budget/prices.ts';
import { openHold, releaseHold, settleHold } from './holds.ts';
import type { Account } from './holds.ts';
import { LlmError } from './llm.ts';
import type { CallLlm, LlmCall } from './llm.ts';
import { analyseOffline } from '../costs/analyst/answer.ts';
import type { OfflineAnalysis } from '../costs/analyst/answer.ts';

export interface OfflineConfig {
  readonly kind: 'offline';
  /** Charges tokens like this model's, so that budgets move in a demonstration. Say so where it is shown. */
  readonly priceAs?: string | undefined;
}

export const offlineModel = 'offline-analyst';
const provider = 'offline';
const timeoutMs = 30_000;
const noneSpecial = new Set<string>();

const free: PinnedPrice = {
  source: provider,
  model: offlineModel,
  input: { usdPerMtok: '0' },
  output: { usdPerMtok: '0' },
  dearestInputUsdPerMtok: '0',
  dearestOutputUsdPerMtok: '0',
};

type CountTokens = (text: string) => number;

/**
 * Loads the tokenizer, 67 MB that only a process which counts should pay for.
 *
 * Tokens of o200k_base; text that looks like a control token is text. Counted piece by piece, which can
 * only count more: the tokenizer takes the square of the length of an unbroken run (40 s for 200 KB of "a").
 */
async function loadTokenizer(): Promise<CountTokens> {
  const { countTokens } = await import('gpt-tokenizer');
  return (text) => {
    const pieces = text.match(/[\s\S]{1,1000}/gu) ?? [];
    return pieces.reduce(
      (sum, piece) => sum + countTokens(piece, { disallowedSpecial: noneSpecial }),
      0,
    );
  };
}

export function offlineDoor(config: OfflineConfig): (account: Account) => CallLlm {
  return (account) => async (call) => {
    const tokensIn = await loadTokenizer();
    const price =
      config.priceAs === undefined ? free : await priceOf(account.sql, { model: config.priceAs });
    const { maxOutputTokens } = call;
    const inputTokens = tokensIn(call.system) + tokensIn(call.prompt);
    const hold = await openHold(account, {
      provider,
      model: offlineModel,
      price,
      inputTokens,
      maxOutputTokens,
      timeoutMs,
    });
    let text: string;
    try {
      text = answerWithin(call, tokensIn);
    } catch (error) {
      await releaseHold(account, hold);
      throw error;
    }
    const outputTokens = tokensIn(text);
    const usage = { inputTokens, outputTokens, cachedTokens: 0, reasoningTokens: 0 };
    const costNanoUsd = await settleHold(account, hold, usage);
    return {
      text,
      usage: { inputTokens, outputTokens },
      costUsd: formatUsd(costNanoUsd),
      analyst: { provider, model: offlineModel, offline: true },
    };
  };
}

/** The answer as JSON (or as its summary, where nobody asks for JSON), findings dropped to fit the cap. */
function answerWithin(call: LlmCall, tokensIn: CountTokens): string {
  let analysis = analyseOffline(call.prompt);
  for (;;) {
    const text = call.json ? JSON.stringify(analysis) : analysis.summary;
    if (tokensIn(text) <= call.maxOutputTokens) return text;
    const shorter = dropLast(analysis);
    if (shorter === undefined || !call.json) {
      throw new LlmError(
        'llm_output_cap_too_small',
        `the offline analysis does not fit into maxOutputTokens (${call.maxOutputTokens})`,
        { class: 'fatal', outcome: 'released' },
      );
    }
    analysis = shorter;
  }
}

function dropLast(analysis: OfflineAnalysis): OfflineAnalysis | undefined {
  const { anomalies, recommendations } = analysis;
  if (anomalies.length + recommendations.length === 0) return undefined;
  return anomalies.length > recommendations.length
    ? { ...analysis, anomalies: anomalies.slice(0, -1) }
    : { ...analysis, recommendations: recommendations.slice(0, -1) };
}
