/** Usage in the bodies of Anthropic's messages protocol. docs.claude.com, "Messages", field `usage`. */
import type { UsageClass, UsageCounts } from '../../budget/usage-classes.ts';
import { asObject, asObjects } from '../provider-body.ts';
import type { JsonObject } from '../provider-body.ts';
import { optionalCount, optionalText, tierOf, tokenCount } from './reported.ts';
import type { ReportedUsage } from './reported.ts';

export function anthropicUsage(body: JsonObject): ReportedUsage | undefined {
  const usage = asObject(body['usage']);
  if (usage === undefined) return undefined;
  const top = countsOf(usage);
  if (top === undefined) return undefined;
  const searches = optionalCount(asObject(usage['server_tool_use'])?.['web_search_requests']);
  return {
    counts: {
      ...withIterations(top, usage),
      ...(searches === 0 ? {} : { web_search: searches }),
    },
    model: optionalText(body['model']),
    tier: tierOf(usage['service_tier']) ?? regionOf(usage) ?? speedOf(usage),
  };
}

/**
 * `input_tokens` excludes tokens that were read from the cache or written to it; `output_tokens` includes thinking.
 * Cache writes for 1 h are part of all cache writes.
 */
function countsOf(usage: JsonObject): UsageCounts | undefined {
  const input = tokenCount(usage['input_tokens']);
  const output = tokenCount(usage['output_tokens']);
  const read = tokenCount(usage['cache_read_input_tokens'] ?? 0);
  const written = tokenCount(usage['cache_creation_input_tokens'] ?? 0);
  if (input === undefined || output === undefined) return undefined;
  if (read === undefined || written === undefined) return undefined;
  const byDuration = asObject(usage['cache_creation']);
  const for1h = optionalCount(byDuration?.['ephemeral_1h_input_tokens']);
  const for5m = optionalCount(byDuration?.['ephemeral_5m_input_tokens']);
  const details = asObject(usage['output_tokens_details']);
  const reasoning = Math.min(optionalCount(details?.['thinking_tokens']), output);
  return {
    input,
    cache_read: read,
    cache_write: Math.max(written - for1h, for5m),
    cache_write_1h: for1h,
    output: output - reasoning,
    reasoning,
  };
}

/** The totals leave out iterations that are not part of the answer, such as a compaction; each is billed. */
function withIterations(top: UsageCounts, usage: JsonObject): UsageCounts {
  const others = asObjects(usage['iterations'])
    .filter(({ type }) => type !== 'message')
    .map(countsOf)
    .filter((counts) => counts !== undefined);
  const sum: Partial<Record<UsageClass, number>> = { ...top };
  const names: readonly UsageClass[] = [
    'input',
    'cache_read',
    'cache_write',
    'cache_write_1h',
    'output',
    'reasoning',
  ];
  for (const counts of others) {
    for (const name of names) sum[name] = (sum[name] ?? 0) + (counts[name] ?? 0);
  }
  return sum;
}

/** Inference in one region has a surcharge. */
function regionOf(usage: JsonObject): string | undefined {
  const region = optionalText(usage['inference_geo']);
  return region === undefined || ['global', 'not_available'].includes(region)
    ? undefined
    : `region ${region}`;
}

function speedOf(usage: JsonObject): string | undefined {
  const speed = optionalText(usage['speed']);
  return speed === undefined || speed === 'standard' ? undefined : `speed ${speed}`;
}
