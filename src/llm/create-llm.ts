/** Opens the one door to a provider, by configuration; every attempt passes it on its own account. */
import type { Sql } from '../db/connect.ts';
import { codeOf, UsageError } from '../errors.ts';
import type { Metrics } from '../metrics.ts';
import { anthropicProtocol } from './anthropic.ts';
import { providerDoor } from './door.ts';
import type { ProviderConfig } from './door.ts';
import { googleProtocol } from './google.ts';
import type { Attempt } from './holds.ts';
import type { Analyst, Llm } from './llm.ts';
import { offlineDoor, offlineModel } from './offline.ts';
import type { OfflineConfig } from './offline.ts';
import { openAiProtocol } from './openai.ts';

export type LlmProviderConfig = ProviderConfig | OfflineConfig;

const protocols = {
  openai: openAiProtocol,
  anthropic: anthropicProtocol,
  google: googleProtocol,
};

export interface LlmOptions {
  readonly provider: LlmProviderConfig;
  /** The system's pool: budgets are none of a tenant's business. */
  readonly budgetSql: Sql;
  readonly metrics?: Pick<Metrics, 'budgetCheckSeconds' | 'llmCalls'>;
}

export interface LlmDoor {
  /** Who will answer, for logs and reports. */
  readonly analyst: Analyst;
  forAttempt(attempt: Attempt): Llm;
}

/** One per process. Opens no connection and sends nothing by itself. */
export function createLlm(options: LlmOptions): LlmDoor {
  const { provider, budgetSql: sql, metrics } = options;
  const offline = provider.kind === 'offline';
  const open = offline ? offlineDoor(provider) : providerDoor(protocols[provider.kind], provider);
  const onBudgetCheck = (seconds: number) => metrics?.budgetCheckSeconds.observe(seconds);
  return {
    analyst: {
      provider: provider.kind,
      model: offline ? offlineModel : provider.model,
      offline,
    },
    forAttempt: (attempt) => {
      const llm = open({ ...attempt, sql, onBudgetCheck });
      return {
        generate: async (request) => {
          if (!Number.isSafeInteger(request.maxOutputTokens) || request.maxOutputTokens < 1) {
            throw new UsageError(
              `maxOutputTokens must be a whole number of at least 1, not ${request.maxOutputTokens}`,
            );
          }
          try {
            const answer = await llm.generate(request);
            metrics?.llmCalls.inc({ status: 'ok' });
            return answer;
          } catch (error) {
            metrics?.llmCalls.inc({ status: codeOf(error) });
            throw error;
          }
        },
      };
    },
  };
}
