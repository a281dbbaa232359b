/** What `doctor` says of the LLM: a model without a price is found here, not by the first job that ends of it. */
import { priceOf } from '../../budget/prices.ts';
import type { Config } from '../../config.ts';
import type { Queryable } from '../../db/connect.ts';
import { codeOf } from '../../errors.ts';
import { llmProviderOf } from '../runtime/roles.ts';

export async function checkLlm(config: Config, sql: Queryable) {
  const provider = llmProviderOf(config);
  if (provider.kind === 'offline') {
    if (provider.analyst === undefined) {
      return {
        level: 'warn' as const,
        seen: 'no provider is configured, and every call fails',
        fix: 'set LLM_PROVIDER and its API key (docs/money.md)',
      };
    }
    return { level: 'ok' as const, seen: 'none is called: the offline analyst answers' };
  }
  const { kind, model, baseUrl } = provider;
  try {
    const { source } = await priceOf(sql, {
      model,
      ...(baseUrl === undefined ? {} : { baseUrl }),
    });
    return { level: 'ok' as const, seen: `${kind}, ${model}, priced by ${source}` };
  } catch (error) {
    if (codeOf(error) !== 'model_unpriced') throw error;
    return {
      level: 'fail' as const,
      seen: `LLM_MODEL ${model} has no price, and every call of it is refused`,
      fix: 'name a model that has one, or give it one in the table llm_prices (docs/money.md)',
    };
  }
}
