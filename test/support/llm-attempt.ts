/** One attempt of a tenant with an open LLM gateway, for tests that begin below the worker. */
import type { Sql } from '../../src/db/connect.ts';
import { createLlm } from '../../src/llm/create-llm.ts';
import type { LlmProviderConfig } from '../../src/llm/create-llm.ts';
import { createHandlerLlm } from '../../src/llm/handler-llm.ts';
import type { Llm, LlmError } from '../../src/llm/llm.ts';
import { createLogger } from '../../src/log.ts';
import type { Logger } from '../../src/log.ts';
import type { WireProtocol } from './provider-protocols.ts';
import { addTenant, startAttempt } from './tenants.ts';
import type { TestAttempt } from './tenants.ts';

export interface LlmAttempt extends TestAttempt {
  readonly llm: Llm;
  readonly controller: AbortController;
}

export const silentLog: Logger = createLogger({ level: 'silent', role: 'test' });

export async function llmAttempt(
  sql: Sql,
  tenantId: string,
  provider: LlmProviderConfig,
  log: Logger = silentLog,
): Promise<LlmAttempt> {
  const attempt = await startAttempt(sql, tenantId);
  const controller = new AbortController();
  const gateway = createLlm({ provider, budgetSql: sql });
  const { call } = gateway.forAttempt({ ...attempt, signal: controller.signal, log });
  const llm = createHandlerLlm(call, gateway.countAnswer);
  return { ...attempt, llm, controller };
}

/** The call that a faulty provider gets, with secrets that no message may repeat. */
export const faultyCall = {
  apiKey: 'sk-test-0123456789abcdef',
  system: 'Be brief.',
  prompt: 'The secret plan of Example Corp is to sell umbrellas in the desert.',
  maxOutputTokens: 100,
};

/** A tenant with 1 USD whose one call holds 0.10 USD of it and is expected to fail. */
export async function failingCall(
  sql: Sql,
  provider: {
    readonly baseUrl: string;
    readonly timeoutMs?: number;
    readonly kind?: WireProtocol;
    readonly apiKey?: string;
    readonly model?: string;
  },
) {
  const { model = 'ten-cents' } = provider;
  await sql`
    insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok)
    values (${model}, '2020-01-01', 0, 1000) on conflict do nothing`;
  const tenantId = await addTenant(sql, { limitUsd: '1' });
  const { llm, controller } = await llmAttempt(sql, tenantId, {
    kind: provider.kind ?? 'openai',
    model,
    apiKey: provider.apiKey ?? faultyCall.apiKey,
    baseUrl: provider.baseUrl,
    timeoutMs: provider.timeoutMs ?? 5000,
    maxResponseBytes: 1024 * 1024,
  });
  const failure = llm.generate(faultyCall).then(
    () => {
      throw new Error('the call succeeded');
    },
    (error: LlmError) => error,
  );
  return { tenantId, failure, controller };
}
