/**
 * The classes of usage that providers bill. They are disjoint: a token that was read from a cache is `cache_read`
 * and not `input`, so that the counts of one call add up to its tokens.
 */

interface ClassRule {
  /** The total that the class is part of; fees are part of none. */
  readonly total: 'input' | 'output' | 'fee';
  /** Classes whose rate applies where this class has none, nearest first. A fee has no other rate. */
  readonly fallback: readonly UsageClass[];
}

export type UsageClass =
  | 'input'
  | 'input_audio'
  | 'input_image'
  | 'input_video'
  | 'cache_read'
  | 'cache_read_audio'
  | 'cache_read_image'
  | 'cache_read_video'
  | 'cache_write'
  | 'cache_write_1h'
  | 'output'
  | 'output_audio'
  | 'output_image'
  | 'output_video'
  | 'reasoning'
  | 'citation'
  | 'request'
  | 'web_search';

/** `request` is the fee that some providers charge for every call. */
export const classRules: Readonly<Record<UsageClass, ClassRule>> = {
  input: { total: 'input', fallback: [] },
  input_audio: { total: 'input', fallback: ['input'] },
  input_image: { total: 'input', fallback: ['input'] },
  input_video: { total: 'input', fallback: ['input'] },
  cache_read: { total: 'input', fallback: ['input'] },
  cache_read_audio: { total: 'input', fallback: ['cache_read', 'input_audio', 'input'] },
  cache_read_image: { total: 'input', fallback: ['cache_read', 'input_image', 'input'] },
  cache_read_video: { total: 'input', fallback: ['cache_read', 'input_video', 'input'] },
  cache_write: { total: 'input', fallback: ['input'] },
  cache_write_1h: { total: 'input', fallback: ['cache_write', 'input'] },
  output: { total: 'output', fallback: [] },
  output_audio: { total: 'output', fallback: ['output'] },
  output_image: { total: 'output', fallback: ['output'] },
  output_video: { total: 'output', fallback: ['output'] },
  reasoning: { total: 'output', fallback: ['output'] },
  citation: { total: 'output', fallback: ['output'] },
  request: { total: 'fee', fallback: [] },
  web_search: { total: 'fee', fallback: [] },
};

/** How often each class occurred in one call; an absent class is zero. */
export type UsageCounts = Readonly<Partial<Record<UsageClass, number>>>;

export const usageClasses = Object.keys(classRules).filter(isUsageClass);

function isUsageClass(name: string): name is UsageClass {
  return Object.hasOwn(classRules, name);
}

/** Tokens of one call. `inputTokens` includes the cached ones, `outputTokens` the reasoning ones. */
export interface TokenUsage {
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly cachedTokens: number;
  readonly reasoningTokens: number;
}

export function tokensOf(counts: UsageCounts): TokenUsage {
  const sumOf = (belongs: (name: UsageClass) => boolean): number =>
    usageClasses.filter(belongs).reduce((sum, name) => sum + (counts[name] ?? 0), 0);
  return {
    inputTokens: sumOf((name) => classRules[name].total === 'input'),
    outputTokens: sumOf((name) => classRules[name].total === 'output'),
    cachedTokens: sumOf((name) => name.startsWith('cache_read')),
    reasoningTokens: counts.reasoning ?? 0,
  };
}
