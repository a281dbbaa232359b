/**
 * Builds the LLM gateway from the configuration. It runs in the supervisor, so that a killed executor thread
 * loses no usage.
 */
import type { Sql } from '../db/connect.ts';
import { codeOf } from '../errors.ts';
import type { Metrics } from '../metrics.ts';
import { anthropicProtocol } from './anthropic.ts';
import { createByteLimit } from './byte-limit.ts';
import { bytesOfCall, checkCall } from './check-call.ts';
import { baseUrlOf, createProviderGateway } from './gateway.ts';
import type { ProviderConfig } from './gateway.ts';
import { googleProtocol } from './google.ts';
import { abortedBeforeSending } from './holds.ts';
import type { Attempt } from './holds.ts';
import type { Analyst, CallLlm } from './llm.ts';
import { createLocalGateway } from './local.ts';
import type { LocalProviderConfig } from './local.ts';
import { openAiProtocol } from './openai.ts';

export type LlmProviderConfig = ProviderConfig | LocalProviderConfig;

const protocols = {
  openai: openAiProtocol,
  anthropic: anthropicProtocol,
  google: googleProtocol,
};

export interface LlmOptions {
  readonly provider: LlmProviderConfig;
  /** The system's pool: a tenant role has no access to budgets. */
  readonly budgetSql: Sql;
  readonly metrics?: Pick<Metrics, 'budgetCheckSeconds' | 'llmCalls'>;
  /** Bound of the text of all calls in flight; further calls wait. Default 64 MiB. */
  readonly maxInFlightBytes?: number;
}

export interface LlmGateway {
  /** The configured provider and model, for logs and reports. */
  readonly analyst: Analyst;
  readonly forAttempt: (attempt: Attempt) => { readonly call: CallLlm };
  /**
   * Counts an answer to a request with a schema, after its handler has validated it. Not called where the
   * handler was killed before.
   */
  readonly countAnswer: (valid: boolean) => void;
}

/** Base URL of every request to this provider; undefined for a local one. */
export function requestBaseUrl(provider: LlmProviderConfig): string | undefined {
  return provider.kind === 'offline' ? undefined : baseUrlOf(protocols[provider.kind], provider);
}

/** One per process. Opens no connection. */
export function createLlm(options: LlmOptions): LlmGateway {
  const { provider, budgetSql: sql, metrics } = options;
  const offline = provider.kind === 'offline';
  const open = offline
    ? createLocalGateway(provider)
    : createProviderGateway(protocols[provider.kind], provider);
  const limit = createByteLimit(options.maxInFlightBytes ?? 64 * 1024 * 1024);
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
            const reply = await limit
              .run(bytesOfCall(call), attempt.signal, () => ask(call))
              .catch((error: unknown) => {
                throw error === attempt.signal.reason ? abortedBeforeSending(error) : error;
              });
            if (!call.json) count('ok');
            return reply;
          } catch (error) {
            count(codeOf(error));
            throw error;
          }
        },
      };
    },
    countAnswer: (valid) => count(valid ? 'ok' : 'llm_output_invalid'),
  };
}
