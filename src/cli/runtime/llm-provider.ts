/** The LLM provider that the configuration names. */
import type { Config } from '../../config.ts';
import { offlineAnalyst } from '../../costs/analyst/local-analyst.ts';
import type { LlmProviderConfig } from '../../llm/create-llm.ts';

/** The provider behind `ctx.llm`: the configured one, or the offline analyst. */
export function llmProviderOf(config: Config): LlmProviderConfig {
  const provider =
    config.LLM_PROVIDER ?? (config.OPENAI_API_KEY === undefined ? 'offline' : 'openai');
  if (provider === 'offline') return { kind: 'offline', analyst: offlineAnalyst };
  const access = {
    openai: { apiKey: config.OPENAI_API_KEY, baseUrl: config.OPENAI_BASE_URL },
    anthropic: { apiKey: config.ANTHROPIC_API_KEY, baseUrl: config.ANTHROPIC_BASE_URL },
    google: { apiKey: config.GOOGLE_API_KEY, baseUrl: config.GOOGLE_BASE_URL },
  };
  return {
    kind: provider,
    model: config.LLM_MODEL,
    timeoutMs: config.LLM_TIMEOUT_SECONDS.usualMs,
    modelTimeoutsMs: config.LLM_TIMEOUT_SECONDS.byModelMs,
    ...access[provider],
  };
}
