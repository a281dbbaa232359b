/**
 * The local provider: an analyst in this process answers instead of an LLM. Its calls are held and settled
 * like those of any provider, and every answer is labelled as offline. Free, unless priced as a named model.
 */
import { formatUsd } from '../budget/money.ts';
import { billOf } from '../budget/bill.ts';
import type { PinnedPrice } from '../budget/pinned-price.ts';
import { priceOf } from '../budget/prices/in-force.ts';
import { openHold, releaseHold, settleHold } from './holds.ts';
import type { Account } from './holds.ts';
import { LlmError } from './llm.ts';
import type { CallLlm, LlmCall } from './llm.ts';
import { readConversation } from './prompt/conversation.ts';
import { countTokens } from './tokens/count.ts';

/** Answers a call without any provider. Handed in by the program that assembles the process. */
export interface LocalAnalyst {
  /** Its name in reservations, reports and answers. */
  readonly model: string;
  /** Candidate answers to one prompt, from the fullest to the shortest; the first that fits the cap is used. */
  answers(call: Pick<LlmCall, 'prompt' | 'json'>): Iterable<string>;
}

export interface LocalProviderConfig {
  readonly kind: 'offline';
  /** Without it every call fails with `llm_not_configured`. */
  readonly analyst?: LocalAnalyst | undefined;
  /** Charges tokens at the price of this model, so that budgets move in a demonstration. */
  readonly priceAs?: string | undefined;
}

const provider = 'offline';
const timeoutMs = 30_000;

const freePriceOf = (model: string): PinnedPrice => ({
  source: provider,
  model,
  rates: { input: { usd: '0' }, output: { usd: '0' } },
});

/** The analyst's answers and prompts are counted as gpt-4o would count them. */
const tokensIn = (text: string): Promise<number> => countTokens('o200k_base', text);

export function createLocalGateway(config: LocalProviderConfig): (account: Account) => CallLlm {
  const { analyst, priceAs } = config;
  return (account) => async (call) => {
    if (analyst === undefined) throw notConfigured();
    const { model } = analyst;
    const price =
      priceAs === undefined
        ? freePriceOf(model)
        : await priceOf(account.sql, { tenantId: account.tenantId, model: priceAs });
    const { maxOutputTokens } = call;
    const prompt = promptOf(call);
    const inputTokens = (await tokensIn(call.system)) + (await tokensIn(prompt));
    const hold = await openHold(account, {
      provider,
      model,
      price,
      inputTokens,
      maxOutputTokens,
      inputClasses: ['input'],
      outputClasses: ['output'],
      timeoutMs,
    });
    let text: string;
    try {
      text = await answerWithin(analyst, { ...call, prompt });
    } catch (error) {
      await releaseHold(account, hold);
      throw error;
    }
    const outputTokens = await tokensIn(text);
    const charge = billOf(price, { input: inputTokens, output: outputTokens });
    await settleHold(account, hold, { charge });
    return {
      text,
      usage: { inputTokens, outputTokens },
      costUsd: formatUsd(charge.costNanoUsd),
      analyst: { provider, model, offline: true },
    };
  };
}

/** It reads what users wrote, and calls no tools. */
function promptOf({ prompt, conversation }: LlmCall): string {
  if (conversation === undefined) return prompt;
  const { messages } = readConversation(conversation);
  const users = messages.filter(({ role }) => role === 'user');
  return users
    .flatMap(({ content }) => content.map((part) => (part.type === 'text' ? part.text : '')))
    .join('\n');
}

function notConfigured(): LlmError {
  return new LlmError(
    'llm_not_configured',
    'no LLM provider is configured and no local analyst is installed; set LLM_PROVIDER to openai, anthropic ' +
      'or google and its key OPENAI_API_KEY, ANTHROPIC_API_KEY or GOOGLE_API_KEY',
    { class: 'fatal', outcome: 'released' },
  );
}

async function answerWithin(analyst: LocalAnalyst, call: LlmCall): Promise<string> {
  for (const text of analyst.answers(call)) {
    if ((await tokensIn(text)) <= call.maxOutputTokens) return text;
  }
  throw new LlmError(
    'llm_output_cap_too_small',
    `no answer of ${analyst.model} fits into maxOutputTokens (${call.maxOutputTokens})`,
    { class: 'fatal', outcome: 'released' },
  );
}
