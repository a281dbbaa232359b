/** The price of one model as it is pinned on a reservation, so that a later change of prices does not affect the call. */
import type { UsageClass } from './usage-classes.ts';

/** In USD per million tokens, or per thousand requests for a fee. A tier replaces it for the whole request. */
export interface Rate {
  readonly usd: string;
  readonly tiers?: readonly { readonly aboveInputTokens: number; readonly usd: string }[];
}

export type Rates = Readonly<Partial<Record<UsageClass, Rate>>>;

/** As stored in `llm_reservations.price`. */
export interface PinnedPrice {
  /** `operator` or `genai-prices` (published), as in `llm_price_versions`, or the name of a local provider. */
  readonly source: string;
  readonly model: string;
  readonly rates: Rates;
  /** Who sells the call: an id of the published prices, or the host of the base URL. Absent without a base URL. */
  readonly provider?: string;
  /** Id of the version in `llm_price_versions`; absent for a price that is no row of it. */
  readonly version?: string;
  /** Version of @pydantic/genai-prices, for a price that was read from the package and not from a row. */
  readonly packageVersion?: string;
}
