/**
 * Prices from @pydantic/genai-prices, by the provider that a base URL belongs to. Only an exact name has a price:
 * that package also matches by prefix, and a name that resembles another may be a different model.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { calcPrice, findProvider } from '@pydantic/genai-prices';
import type { MatchLogic, ModelInfo, ModelPrice, Provider } from '@pydantic/genai-prices';
import { decimalOfNumber, multiplyDecimals } from '../money.ts';
import type { PinnedPrice, Rate, Rates } from '../pinned-price.ts';
import type { UsageClass } from '../usage-classes.ts';

export interface PublishedQuery {
  readonly model: string;
  /** Base URL of the request, to distinguish providers that sell the same model. */
  readonly baseUrl?: string;
  /** Instead of a base URL: what `providerOf` says of it. */
  readonly provider?: string;
  readonly now?: Date;
}

/** Of the installed package. */
export const packageVersion = versionOfPackage();

function versionOfPackage(): string {
  // Its exports leave the manifest out.
  const entry = createRequire(import.meta.url).resolve('@pydantic/genai-prices');
  const manifest: unknown = JSON.parse(
    readFileSync(new URL('../package.json', pathToFileURL(entry)), 'utf8'),
  );
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : 'unknown';
}

/** Who sells what is requested at `baseUrl`: an id of the published prices, else the URL's host with its port. */
export function providerOf(baseUrl: string): string {
  return findProvider({ providerApiUrl: baseUrl })?.id ?? new URL(baseUrl).host;
}

/** The provider of a query; undefined where it names none. */
export function sellerOf({ provider, baseUrl }: PublishedQuery): string | undefined {
  return provider ?? (baseUrl === undefined ? undefined : providerOf(baseUrl));
}

/** A provider of the published prices by its id; the package itself also takes what resembles one. */
export function publishedProvider(id: string): Provider | undefined {
  const found = findProvider({ providerId: id });
  return found?.id === id ? found : undefined;
}

interface Match {
  readonly provider: Provider;
  readonly model: ModelInfo;
  readonly price: ModelPrice;
}

function matchOf(query: PublishedQuery): Match | undefined {
  const seller = sellerOf(query);
  const known = seller === undefined ? undefined : publishedProvider(seller);
  const found = calcPrice({}, query.model, {
    timestamp: query.now ?? new Date(),
    ...(known === undefined ? {} : { providerId: known.id }),
  });
  if (found === null || !isNameOf(found.model, query.model)) return undefined;
  return { provider: found.provider, model: found.model, price: found.model_price };
}

/** undefined for a model without a price, and for one whose price leaves out what it bills. */
export function publishedPrice(query: PublishedQuery): PinnedPrice | undefined {
  const found = matchOf(query);
  const rates = found === undefined ? undefined : completeRates(query.model, found.price);
  if (found === undefined || rates === undefined) return undefined;
  const provider = sellerOf(query);
  return {
    source: 'genai-prices',
    model: found.model.id,
    rates,
    ...(provider === undefined ? {} : { provider }),
    packageVersion,
  };
}

/** Provider and model under which `purser prices sync` stores the published price of a query. */
export function publishedKey(
  query: PublishedQuery,
): { readonly provider: string; readonly model: string } | undefined {
  const found = matchOf(query);
  if (found !== undefined) return { provider: ownerOf(found), model: found.model.id };
  // A model that a newer package has no longer keeps the price that was stored, under the very name.
  const seller = sellerOf(query);
  if (seller === undefined) return undefined;
  const known = publishedProvider(seller)?.models.some(({ id }) => id === query.model) ?? false;
  return known ? undefined : { provider: seller, model: query.model };
}

/** Some providers sell the models of others at their prices. */
function ownerOf({ provider, model }: Match): string {
  const sellers = [provider.id, ...(provider.fallback_model_providers ?? [])];
  const owner = sellers.find((id) => publishedProvider(id)?.models.includes(model));
  return owner ?? provider.id;
}

/** The rates of a published price; undefined where it leaves out what the model bills. */
export function completeRates(model: string, published: ModelPrice): Rates | undefined {
  const rates = ratesOf(published);
  if (rates.input === undefined) return undefined;
  const output = rates.output ?? outputOfEmbedding(model);
  if (output === undefined || hasUnpricedSearches(model, rates)) return undefined;
  return { ...rates, output };
}

const classOfPriceKey: Readonly<Record<string, UsageClass>> = {
  input_mtok: 'input',
  input_audio_mtok: 'input_audio',
  input_image_mtok: 'input_image',
  input_video_mtok: 'input_video',
  cache_read_mtok: 'cache_read',
  cache_audio_read_mtok: 'cache_read_audio',
  cache_image_read_mtok: 'cache_read_image',
  cache_video_read_mtok: 'cache_read_video',
  cache_write_mtok: 'cache_write',
  cache_write_1h_mtok: 'cache_write_1h',
  output_mtok: 'output',
  output_audio_mtok: 'output_audio',
  output_image_mtok: 'output_image',
  output_video_mtok: 'output_video',
  output_reasoning_mtok: 'reasoning',
  output_citation_mtok: 'citation',
  requests_kcount: 'request',
  web_searches_kcount: 'web_search',
};

function ratesOf(published: ModelPrice): Partial<Record<UsageClass, Rate>> {
  const rates: Partial<Record<UsageClass, Rate>> = {};
  for (const [key, value] of Object.entries(published)) {
    const name = classOfPriceKey[key];
    if (name === undefined || value === undefined) continue;
    rates[name] =
      typeof value === 'number'
        ? { usd: decimalOf(value) }
        : {
            usd: decimalOf(value.base),
            tiers: value.tiers.map(({ start, price }) => ({
              aboveInputTokens: start,
              usd: decimalOf(price),
            })),
          };
  }
  return rates;
}

/** Without an exponent, as `llm_price_versions` has it. */
const decimalOf = (value: number): string => multiplyDecimals(decimalOfNumber(value), '1');

/** An embedding has no output. */
function outputOfEmbedding(model: string): Rate | undefined {
  return /\bembed(ding)?\b/i.test(model) ? { usd: '0' } : undefined;
}

/** Models that search by themselves: each call has a fee, which some of the published prices leave out. */
function hasUnpricedSearches(model: string, rates: Partial<Record<UsageClass, Rate>>): boolean {
  const searches = /(^|[-/])(search|online|deep-research)(-|$)/i.test(model);
  return searches && rates.request === undefined;
}

/** What may follow the name of a model without making it another: a date, a revision, a release channel. */
const versionSuffix =
  /^(?:[-@:](?:latest|preview|exp|beta))?(?:[-@:](?:\d{8}|\d{4}-\d{2}-\d{2}|\d{2}-\d{4}|\d{2}-\d{2}|\d{3,6}))?(?:-v\d+(?::\d+)?)?$/;

/** Whether `name` is the model's id or one of its names, apart from a version suffix. */
function isNameOf(model: ModelInfo, name: string): boolean {
  const asked = name.trim().toLowerCase();
  if (matchesPattern(model.match, asked)) return true;
  return [model.id, ...literalsOf(model.match)].some((literal) => {
    const known = literal.toLowerCase().replace(/[-@:]$/, '');
    return asked.startsWith(known) && versionSuffix.test(asked.slice(known.length));
  });
}

function literalsOf(match: MatchLogic): string[] {
  if ('or' in match) return match.or.flatMap(literalsOf);
  if ('and' in match) return match.and.flatMap(literalsOf);
  if ('equals' in match) return [match.equals];
  if ('starts_with' in match) return [match.starts_with];
  if ('contains' in match) return [match.contains];
  return 'ends_with' in match ? [match.ends_with] : [];
}

/** A pattern of the whole name, such as `^gpt-5\.6-sol-\d{4}-\d{2}-\d{2}$`. */
function matchesPattern(match: MatchLogic, asked: string): boolean {
  if ('or' in match) return match.or.some((one) => matchesPattern(one, asked));
  return (
    'regex' in match && /^\^[^(].*\$$/.test(match.regex) && new RegExp(match.regex).test(asked)
  );
}
