/**
 * Opens the one door to a provider, by configuration; every attempt passes it on its own account. It stands
 * in the supervisor, so that a thread that is killed takes no usage with it.
 */
import type { Sql } from '../db/connect.ts';
import { codeOf } from '../errors.ts';
import type { Metrics } from '../metrics.ts';
import { anthropicProtocol } from './anthropic.ts';
import { checkCall } from './check-call.ts';
import { providerDoor } from './gateway.ts';
import type { ProviderConfig } from './gateway.ts';
import { googleProtocol } from './google.ts';
import type { Attempt } from './holds.ts';
import type { Analyst, CallLlm } from './llm.ts';
import { localGateway } from './local.ts';
import type { OfflineConfig } from './local.ts';
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
  readonly forAttempt: (attempt: Attempt) => { readonly call: CallLlm };
  /**
   * Counts an answer in JSON, once its reader knows whether it fits: only the reader has the schema. An answer
   * whose reader was killed before is not counted; it is paid for all the same.
   */
  readonly judged: (fits: boolean) => void;
}

/** One per process. Opens no connection and sends nothing by itself. */
export function createLlm(options: LlmOptions): LlmDoor {
  const { provider, budgetSql: sql, metrics } = options;
  const offline = provider.kind === 'offline';
  const open = offline ? localGateway(provider) : providerDoor(protocols[provider.kind], provider);
  const onBudgetCheck = (seconds: number) => metrics?.budgetCheckSeconds.observe(seconds);
  const count = (status: string) => metrics?.llmCalls.inc({ status });
  return {
    analyst: {
      provider: provider.kind,
      model: offline ? (provider.analyst?.model ?? 'none') : provider.model,
      offline,
    },
    forAttempt: (attempt) => {
      const ask = open({ ...attempt, sql, onBudgetCheck });
      return {
        call: async (call) => {
          checkCall(call);
          try {
            const reply = await ask(call);
            if (!call.json) count('ok');
            return reply;
          } catch (error) {
            count(codeOf(error));
            throw error;
          }
        },
      };
    },
    judged: (fits) => count(fits ? 'ok' : 'llm_output_invalid'),
  };
}
