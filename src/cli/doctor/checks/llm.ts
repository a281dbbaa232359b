/** The check of the LLM: a model without a price is found here, before a job fails because of it. */
import { priceOf } from '../../../budget/prices.ts';
import type { Config } from '../../../config.ts';
import type { Queryable } from '../../../db/connect.ts';
import { codeOf } from '../../../errors.ts';
import { llmProviderOf } from '../../runtime/llm-provider.ts';
import { fail, ok, warn } from './finding.ts';
import type { CheckResult } from './finding.ts';

export async function checkLlm(config: Config, sql: Queryable): Promise<CheckResult> {
  const provider = llmProviderOf(config);
  if (provider.kind === 'offline') {
    if (provider.analyst === undefined) {
      return warn(
        'no provider is configured: every LLM call fails',
        'set LLM_PROVIDER and its API key (docs/money.md)',
      );
    }
    return ok('no provider is configured: the offline analyst answers');
  }
  const { kind, model, baseUrl } = provider;
  try {
    const { source } = await priceOf(sql, {
      model,
      ...(baseUrl === undefined ? {} : { baseUrl }),
    });
    return ok(`${kind}, ${model}, priced by ${source}`);
  } catch (error) {
    if (codeOf(error) !== 'model_unpriced') throw error;
    return fail(
      `LLM_MODEL ${model} has no price, and calls of a model without a price are refused`,
      'set LLM_MODEL to a model with a price, or add its price to the table llm_prices (docs/money.md)',
    );
  }
}
