/** Factors of the rates of tokens by service tier, as OpenAI, Anthropic and Google publish them. */

/** The same for every model. */
export const tierFactors = { flex: '0.5', batch: '0.5', 'region us': '1.1' } as const;

/**
 * Tiers whose factor differs between models: the highest that is published. Priority: openai.com/api-priority-processing,
 * gpt-5.5; twice the rate or less for the others. Fast: Anthropic's "Fast mode".
 */
export const highestFactors = { priority: '2.5', 'speed fast': '6' } as const;
