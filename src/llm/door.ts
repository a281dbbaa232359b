/** Opens the one door to a provider, by configuration; every attempt passes it on its own account. */
import type { Sql } from '../db/connect.ts';
import { UsageError } from '../errors.ts';
import type { Attempt } from './holds.ts';
import type { Analyst, Llm } from './llm.ts';
import { offlineDoor, offlineModel } from './offline.ts';
import type { OfflineConfig } from './offline.ts';
import { openAiDoor } from './openai.ts';
import type { OpenAiConfig } from './openai.ts';

export type LlmProviderConfig = OpenAiConfig | OfflineConfig;

export interface LlmOptions {
  readonly provider: LlmProviderConfig;
  /** The system's pool: budgets are none of a tenant's business. */
  readonly budgetSql: Sql;
}

export interface LlmDoor {
  /** Who will answer, for logs and reports. */
  readonly analyst: Analyst;
  forAttempt(attempt: Attempt): Llm;
}

export function createLlm(options: LlmOptions): LlmDoor {
  const { provider, budgetSql } = options;
  const open =
    provider.kind === 'offline'
      ? offlineDoor(budgetSql, provider)
      : openAiDoor(budgetSql, provider);
  const analyst =
    provider.kind === 'offline'
      ? { provider: 'offline', model: offlineModel, offline: true }
      : { provider: 'openai', model: provider.model, offline: false };
  return {
    analyst,
    forAttempt: (attempt) => {
      const llm = open(attempt);
      return {
        generate: async (request) => {
          if (!Number.isSafeInteger(request.maxOutputTokens) || request.maxOutputTokens < 1) {
            throw new UsageError(
              `maxOutputTokens must be a whole number of at least 1, not ${request.maxOutputTokens}`,
            );
          }
          return llm.generate(request);
        },
      };
    },
  };
}
