/** What a hold is asked for, and the form in which the budget decides on it. */
import { costLine, estimateCost } from '../budget/bill.ts';
import type { CostBound } from '../budget/bill.ts';
import { formatUsd } from '../budget/money.ts';
import type { PinnedPrice } from '../budget/pinned-price.ts';
import type { Rung } from '../budget/reserve.ts';
import { LlmError } from './llm.ts';

export interface HoldRequest extends CostBound {
  readonly provider: string;
  readonly model: string;
  readonly price: PinnedPrice;
  /** Allows a smaller cap where this one does not fit. */
  readonly minOutputTokens?: number | undefined;
  /** Maximum duration of the call. The attempt's deadline ends it earlier. */
  readonly timeoutMs: number;
  readonly endUser?: string | undefined;
  /** The name of the credential that pays. Default `platform`; any other one is the tenant's own. */
  readonly providerKey?: string | undefined;
}

/** Of a column of type numeric(18,9). */
const maxAmountNanoUsd = 10n ** 18n - 1n;

/** Throws `llm_request_too_large` where no budget could hold as much. */
export function rungOf(form: HoldRequest): Rung {
  const { provider, model, price, maxOutputTokens, minOutputTokens } = form;
  const holdNanoUsd = estimateCost(price, form);
  if (holdNanoUsd > maxAmountNanoUsd) {
    throw new LlmError(
      'llm_request_too_large',
      `a call of model ${model} with maxOutputTokens ${maxOutputTokens} may cost ` +
        `$${formatUsd(holdNanoUsd)}, and no budget holds as much; lower the cap or check the price`,
      { class: 'fatal', outcome: 'released' },
    );
  }
  return {
    provider,
    model,
    price,
    holdNanoUsd,
    maxOutputTokens,
    ...(minOutputTokens === undefined
      ? {}
      : { smaller: { minOutputTokens, ...costLine(price, form) } }),
  };
}
