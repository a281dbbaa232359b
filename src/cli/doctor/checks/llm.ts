/** The check of the LLM: a model without a price is found here, before a job fails because of it. */
import { priceOf } from '../../../budget/prices/in-force.ts';
import { publishedPrice } from '../../../budget/prices/published.ts';
import { sameRates } from '../../../budget/prices/steps.ts';
import type { Config } from '../../../config.ts';
import type { Queryable } from '../../../db/connect.ts';
import { codeOf } from '../../../errors.ts';
import { requestBaseUrl } from '../../../llm/create-llm.ts';
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
  const { kind, model } = provider;
  const baseUrl = requestBaseUrl(provider);
  const query = { tenantId: undefined, model, ...(baseUrl === undefined ? {} : { baseUrl }) };
  try {
    const { source, version, rates } = await priceOf(sql, query);
    const published = publishedPrice(query);
    if (source === 'genai-prices' && version !== undefined && published !== undefined) {
      if (!sameRates(rates, published.rates)) {
        return warn(
          `${kind}, ${model}, priced by version ${version} of its published price, which differs from that of this release`,
          'run purser prices sync; see both: purser prices show --history --model ' + model,
        );
      }
    }
    return ok(`${kind}, ${model}, priced by ${source}`);
  } catch (error) {
    if (codeOf(error) !== 'model_unpriced') throw error;
    return fail(
      `LLM_MODEL ${model} has no price, and calls of a model without a price are refused`,
      'set LLM_MODEL to a model with a price, or give it one: purser prices set (docs/money.md)',
    );
  }
}
