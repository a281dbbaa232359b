/** Usage in the bodies of Google's generateContent protocol. ai.google.dev, GenerateContentResponse, UsageMetadata. */
import type { UsageClass, UsageCounts } from '../../budget/usage-classes.ts';
import { asObject, asObjects } from '../provider-body.ts';
import type { JsonObject } from '../provider-body.ts';
import { optionalCount, optionalText, split, tierOf, tokenCount } from './reported.ts';
import type { ReportedUsage } from './reported.ts';

export function googleUsage(body: JsonObject): ReportedUsage | undefined {
  const usage = asObject(body['usageMetadata']);
  if (usage === undefined) return undefined;
  const totals = totalsOf(usage);
  if (totals === undefined) return undefined;
  const { input, cached, candidates, thoughts, unlisted } = totals;
  const searches = asObjects(body['candidates']).reduce(
    (sum, { groundingMetadata }) => sum + queriesOf(asObject(groundingMetadata)),
    0,
  );
  return {
    counts: {
      ...inputCounts(usage, input, cached),
      ...outputCounts(usage, candidates, unlisted),
      reasoning: thoughts,
      ...(searches === 0 ? {} : { web_search: searches }),
    },
    model: optionalText(body['modelVersion']),
    tier: tierOf(usage['serviceTier']) ?? tierOf(trafficOf(usage)),
  };
}

/**
 * Thoughts are billed as output and not included in the candidates. Protobuf leaves zeros out of its JSON, so a
 * missing count is zero where the total is present; what the total has beyond the parts is output.
 */
function totalsOf(usage: JsonObject) {
  const count = (name: string) => tokenCount(usage[name] ?? 0);
  const prompt = tokenCount(usage['promptTokenCount']);
  const total = tokenCount(usage['totalTokenCount']);
  const toolPrompt = count('toolUsePromptTokenCount');
  const candidates = count('candidatesTokenCount');
  const thoughts = count('thoughtsTokenCount');
  if (prompt === undefined || toolPrompt === undefined) return undefined;
  if (candidates === undefined || thoughts === undefined) return undefined;
  // An embedding has neither; it names the details of its prompt otherwise than an answer.
  const hasOutput = usage['candidatesTokenCount'] !== undefined || total !== undefined;
  if (!hasOutput && !Array.isArray(usage['promptTokenDetails'])) return undefined;
  const input = prompt + toolPrompt;
  return {
    input,
    cached: Math.min(count('cachedContentTokenCount') ?? 0, input),
    candidates,
    thoughts,
    unlisted: Math.max(0, (total ?? 0) - input - candidates - thoughts),
  };
}

type Medium = 'audio' | 'image' | 'video';
const media: readonly Medium[] = ['audio', 'image', 'video'];

/** Tokens of each medium in the named lists; a document is billed as images. */
function byMedium(usage: JsonObject, ...names: readonly string[]): Record<Medium, number> {
  const sums = { audio: 0, image: 0, video: 0 };
  for (const { modality, tokenCount: count } of names.flatMap((name) => asObjects(usage[name]))) {
    const medium = modality === 'DOCUMENT' ? 'image' : optionalText(modality)?.toLowerCase();
    const known = media.find((one) => one === medium);
    if (known !== undefined) sums[known] += optionalCount(count);
  }
  return sums;
}

function classesOf(
  prefix: 'input' | 'cache_read' | 'output',
  sums: Record<Medium, number>,
): [UsageClass, number][] {
  return media.map((medium) => [`${prefix}_${medium}`, sums[medium]]);
}

function inputCounts(usage: JsonObject, input: number, cached: number): UsageCounts {
  const all = byMedium(usage, 'promptTokensDetails', 'toolUsePromptTokensDetails');
  const fromCache = byMedium(usage, 'cacheTokensDetails');
  const fresh = {
    audio: Math.max(0, all.audio - fromCache.audio),
    image: Math.max(0, all.image - fromCache.image),
    video: Math.max(0, all.video - fromCache.video),
  };
  return {
    ...split(input - cached, 'input', classesOf('input', fresh)),
    ...split(cached, 'cache_read', classesOf('cache_read', fromCache)),
  };
}

function outputCounts(usage: JsonObject, candidates: number, unlisted: number): UsageCounts {
  const sums = byMedium(usage, 'candidatesTokensDetails');
  return split(candidates + unlisted, 'output', classesOf('output', sums));
}

function queriesOf(grounding: JsonObject | undefined): number {
  const queries = grounding?.['webSearchQueries'];
  return Array.isArray(queries) ? queries.length : 0;
}

/** `ON_DEMAND_FLEX` of Vertex AI is the tier `flex`. */
function trafficOf(usage: JsonObject): string | undefined {
  return optionalText(usage['trafficType'])?.replace(/^ON_DEMAND_/i, '');
}
