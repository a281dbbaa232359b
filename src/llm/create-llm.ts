/**
 * Builds the LLM gateway from the configuration. It runs in the supervisor, so that a killed executor thread
 * loses no usage.
 */
import { gatherCharges } from '../budget/charges.ts';
import { formatUsd } from '../budget/money.ts';
import type { OpenKeys } from '../crypto/open-keyring.ts';
import { StopWatch } from '../budget/stop-watch.ts';
import type { Sql } from '../db/connect.ts';
import { codeOf } from '../errors.ts';
import type { Metrics } from '../metrics.ts';
import type { Logger } from '../log.ts';
import { anthropicProtocol } from './anthropic.ts';
import { Breakers } from './breaker/breakers.ts';
import type { Clock } from './breaker/write-pace.ts';
import { createByteLimit } from './byte-limit.ts';
import { bytesOfCall, checkCall } from './check-call.ts';
import { baseUrlOf, openProvider } from './gateway.ts';
import type { ProviderConfig } from './gateway.ts';
import { googleProtocol } from './google.ts';
import { abortedBeforeSending } from './holds.ts';
import type { Account, Attempt, Hold } from './holds.ts';
import type { Analyst, CallLlm, LlmCall, LlmReply } from './llm.ts';
import { createProviderGateway } from './ladder/ladder.ts';
import { createLocalGateway } from './local.ts';
import type { LocalProviderConfig } from './local.ts';
import { openAiProtocol } from './openai.ts';
import { Drains } from './streams/drains.ts';
import type { DrainLimits } from './streams/drains.ts';
import type { StreamReader } from './streams/exchange-stream.ts';
import { createProviderStreams } from './streams/gateway.ts';
import type { StreamLlm } from './streams/gateway.ts';

export type LlmProviderConfig = ProviderConfig | LocalProviderConfig;

const protocols = {
  openai: openAiProtocol,
  anthropic: anthropicProtocol,
  google: googleProtocol,
};

type LlmMetrics = Pick<
  Metrics,
  'budgetCheckSeconds' | 'llmCalls' | 'llmHeldUsd' | 'llmChargedUsd' | 'llmBreakerChanges'
>;

export interface LlmOptions {
  readonly provider: LlmProviderConfig;
  /** The system's pool: a tenant role has no access to budgets. */
  readonly budgetSql: Sql;
  readonly metrics?: LlmMetrics;
  /** Bound of the text of all calls in flight; further calls wait. Default 64 MiB. */
  readonly maxInFlightBytes?: number;
  readonly drainLimits?: DrainLimits;
  /** For changes of circuit breakers. */
  readonly log?: Logger;
  /** Of the circuit breakers. Default: the process's. */
  readonly clock?: Clock;
  /** Decrypts the tenants' own keys of the provider. Without it a tenant that has one cannot call. */
  readonly openKeys?: OpenKeys;
}

export interface LlmGateway {
  /** The configured provider and model, for logs and reports. */
  readonly analyst: Analyst;
  readonly forAttempt: (attempt: Attempt) => AttemptLlm;
  /**
   * Counts an answer to a request with a schema, after its handler has validated it. Not called where the
   * handler was killed before.
   */
  readonly countAnswer: (valid: boolean) => void;
  /** Ends what is read for its usage alone; resolves when its holds have ended. The database must still be open. */
  readonly close: () => Promise<void>;
}

export interface AttemptLlm {
  readonly call: CallLlm;
  readonly stream: StreamLlm;
}

/** Base URL of every request to this provider; undefined for a local one. */
export function requestBaseUrl(provider: LlmProviderConfig): string | undefined {
  return provider.kind === 'offline' ? undefined : baseUrlOf(protocols[provider.kind], provider);
}

/** One per process. Opens no connection. */
export function createLlm(options: LlmOptions): LlmGateway {
  const { provider, budgetSql: sql, metrics, openKeys } = options;
  const offline = provider.kind === 'offline';
  const stops = new StopWatch(sql);
  const breakers = new Breakers({
    sql,
    log: options.log,
    clock: options.clock,
    onChange: (kind, state) => metrics?.llmBreakerChanges.inc({ kind, state }),
  });
  const charges = gatherCharges(sql);
  const drains = new Drains(options.drainLimits);
  const open = openCalls(provider, drains);
  const limit = createByteLimit(options.maxInFlightBytes ?? 64 * 1024 * 1024);
  const onBudgetCheck = (seconds: number) => metrics?.budgetCheckSeconds.observe(seconds);
  const onSettled = ({ model, holdNanoUsd }: Hold, chargedNanoUsd: bigint) => {
    metrics?.llmHeldUsd.inc({ model }, Number(formatUsd(holdNanoUsd)));
    metrics?.llmChargedUsd.inc({ model }, Number(formatUsd(chargedNanoUsd)));
  };
  const count = (status: string) => metrics?.llmCalls.inc({ status });
  return {
    analyst: {
      provider: provider.kind,
      model: offline ? (provider.analyst?.model ?? 'none') : provider.model,
      offline,
    },
    forAttempt: (attempt) => {
      const account = { ...attempt, sql, charges, openKeys, onBudgetCheck, onSettled, stops };
      // An analyst in this process has no provider and no credential.
      const ask = open(offline ? account : { ...account, breakers });
      const counted = async (call: LlmCall, run: () => Promise<LlmReply>): Promise<LlmReply> => {
        checkCall(call);
        try {
          const reply = await limit
            .run(bytesOfCall(call), attempt.signal, run)
            .catch((error: unknown) => {
              throw error === attempt.signal.reason ? abortedBeforeSending(error) : error;
            });
          if (!call.json) count('ok');
          return reply;
        } catch (error) {
          count(codeOf(error));
          throw error;
        }
      };
      return {
        call: (call) => counted(call, () => ask.call(call)),
        stream: (call, reader) => counted(call, () => ask.stream(call, reader)),
      };
    },
    countAnswer: (valid) => count(valid ? 'ok' : 'llm_output_invalid'),
    close: async () => {
      await drains.close();
      await breakers.close();
    },
  };
}

function openCalls(
  config: LlmProviderConfig,
  drains: Drains,
): (account: Account) => { readonly call: CallLlm; readonly stream: StreamLlm } {
  if (config.kind === 'offline') {
    const open = createLocalGateway(config);
    return (account) => {
      const call = open(account);
      return { call, stream: (asked, reader) => wholeAsStream(call(asked), reader) };
    };
  }
  const provider = openProvider(protocols[config.kind], config);
  const calls = createProviderGateway(provider);
  const streams = createProviderStreams(provider, drains);
  return (account) => ({ call: calls(account), stream: streams(account) });
}

/** An answer that is there at once. */
async function wholeAsStream(answer: Promise<LlmReply>, reader: StreamReader): Promise<LlmReply> {
  const reply = await answer;
  await reader.take(reply.text);
  return { ...reply, text: '' };
}
