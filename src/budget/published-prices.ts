/**
 * Prices from @pydantic/genai-prices, by the provider that a base URL belongs to. Only an exact name has a price:
 * that package also matches by prefix, and a name that resembles another may be a different model.
 */
import { calcPrice, findProvider } from '@pydantic/genai-prices';
import type { MatchLogic, ModelInfo, ModelPrice } from '@pydantic/genai-prices';
import { decimalOfNumber } from './money.ts';
import type { PinnedPrice, Rate } from './pinned-price.ts';
import type { UsageClass } from './usage-classes.ts';

export interface PriceQuery {
  readonly model: string;
  /** Base URL of the request, to distinguish providers that sell the same model. */
  readonly baseUrl?: string;
  readonly now?: Date;
}

/** undefined for a model without a price, and for one whose price leaves out what it bills. */
export function publishedPrice(query: PriceQuery): PinnedPrice | undefined {
  const provider =
    query.baseUrl === undefined ? undefined : findProvider({ providerApiUrl: query.baseUrl });
  const found = calcPrice({}, query.model, {
    timestamp: query.now ?? new Date(),
    ...(provider === undefined ? {} : { provider }),
  });
  if (found === null || !isNameOf(found.model, query.model)) return undefined;
  const rates = ratesOf(found.model_price);
  if (rates.input === undefined) return undefined;
  const output = rates.output ?? outputOfEmbedding(query.model);
  if (output === undefined || hasUnpricedSearches(query.model, rates)) return undefined;
  return { source: 'genai-prices', model: found.model.id, rates: { ...rates, output } };
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
        ? { usd: decimalOfNumber(value) }
        : {
            usd: decimalOfNumber(value.base),
            tiers: value.tiers.map(({ start, price }) => ({
              aboveInputTokens: start,
              usd: decimalOfNumber(price),
            })),
          };
  }
  return rates;
}

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
