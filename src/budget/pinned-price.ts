/** The price of one model as it is pinned on a reservation, so that a later change of prices does not affect the call. */
import type { UsageClass } from './usage-classes.ts';

/** In USD per million tokens, or per thousand requests for a fee. A tier replaces it for the whole request. */
export interface Rate {
  readonly usd: string;
  readonly tiers?: readonly { readonly aboveInputTokens: number; readonly usd: string }[];
}

/** As stored in `llm_reservations.price`. */
export interface PinnedPrice {
  /** `operator` (llm_prices), `genai-prices` (published), or the name of a local provider. */
  readonly source: string;
  readonly model: string;
  readonly rates: Readonly<Partial<Record<UsageClass, Rate>>>;
}
