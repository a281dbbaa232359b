/** Other data for @pydantic/genai-prices, as the next release of it would have, through its own door for updates. */
import { updatePrices } from '@pydantic/genai-prices';
import type { ConditionalPrice, ModelPrice, Provider } from '@pydantic/genai-prices';
import { publishedProviders } from '../../../src/budget/prices/catalogue.ts';
import { publishedProvider } from '../../../src/budget/prices/published.ts';

/** What the installed package has; read before the first change. */
const installed: readonly Provider[] = publishedProviders
  .map(publishedProvider)
  .filter((provider) => provider !== undefined);

function publish(providers: Provider[]): void {
  updatePrices(({ setProviderData }: { setProviderData: (data: Provider[]) => void }) => {
    setProviderData(providers);
  });
}

/** The installed data, with one model of one provider priced like this, or left out. */
export function publishModel(
  providerId: string,
  modelId: string,
  prices: ModelPrice | ConditionalPrice[] | undefined,
): void {
  publish(
    installed.map((provider) =>
      provider.id === providerId
        ? {
            ...provider,
            models: provider.models.flatMap((model) => {
              if (model.id !== modelId) return [model];
              return prices === undefined ? [] : [{ ...model, prices }];
            }),
          }
        : provider,
    ),
  );
}

export function publishInstalled(): void {
  publish([...installed]);
}
