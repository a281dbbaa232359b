/** All published prices of @pydantic/genai-prices over time, provider by provider. */
import type { ConditionalPrice, ModelInfo, ModelPrice } from '@pydantic/genai-prices';
import { UsageError } from '../../errors.ts';
import type { Rates } from '../pinned-price.ts';
import { completeRates, publishedProvider } from './published.ts';
import { always } from './steps.ts';
import type { PriceStep } from './steps.ts';

export interface PublishedModel {
  /** Id of the provider. */
  readonly provider: string;
  /** Id of the model. */
  readonly model: string;
  /** Ascending. Empty where no price is complete, or where it depends on the time of day: no step can say that. */
  readonly steps: readonly PriceStep[];
}

/** The package does not list them. A test compares them with its data. */
export const publishedProviders: readonly string[] = (
  'anthropic arcee avian aws azure baseten cerebras cloudflare cohere cursor deepseek doubleword fireworks ' +
  'github-copilot google groq huggingface_cerebras huggingface_fireworks-ai huggingface_groq ' +
  'huggingface_hyperbolic huggingface_nebius huggingface_novita huggingface_nscale huggingface_ovhcloud ' +
  'huggingface_publicai huggingface_sambanova huggingface_together minimax mistral modal moonshotai novita ' +
  'openai openrouter ovhcloud perplexity quicksilverpro together typesafe voyageai x-ai zai zhipuai'
).split(' ');

/** Models of these providers, or of all. Throws a `UsageError` for a provider without published prices. */
export function publishedModels(
  providers: readonly string[] = publishedProviders,
): PublishedModel[] {
  return providers.flatMap((id) => {
    const provider = publishedProvider(id);
    if (provider === undefined) {
      throw new UsageError(
        `there are no published prices of provider ${JSON.stringify(id.slice(0, 200))}; use ${publishedProviders.join(', ')}`,
      );
    }
    return provider.models.map((model) => ({
      provider: id,
      model: model.id,
      steps: stepsOf(model),
    }));
  });
}

function stepsOf(model: ModelInfo): PriceStep[] {
  const { prices } = model;
  const rates = (price: ModelPrice): Rates | null => completeRates(model.id, price) ?? null;
  const steps = Array.isArray(prices)
    ? datesOf(prices).map((validFrom) => ({ validFrom, rates: rates(priceAt(prices, validFrom)) }))
    : [{ validFrom: always, rates: rates(prices) }];
  return steps.every((step) => step.rates === null) ? [] : steps;
}

const dateOf = ({ constraint }: ConditionalPrice): Date | undefined =>
  constraint?.type === 'start_date' ? new Date(constraint.start_date) : undefined;

/** Times from which another price may hold; none where a time of day decides. */
function datesOf(prices: readonly ConditionalPrice[]): Date[] {
  if (prices.some(({ constraint }) => constraint?.type === 'time_of_date')) return [];
  const dates = prices.map(dateOf).filter((date) => date !== undefined);
  return [always, ...dates].toSorted((one, other) => one.getTime() - other.getTime());
}

/** As the package chooses: the last one of the list that holds, else the first. */
function priceAt(prices: readonly ConditionalPrice[], time: Date): ModelPrice {
  const holding = prices.findLast((price) => {
    const date = dateOf(price);
    return date === undefined || time >= date;
  });
  return (holding ?? prices[0])?.prices ?? {};
}
