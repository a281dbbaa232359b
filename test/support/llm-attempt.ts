/** One attempt of a tenant with an open LLM door, for tests that begin below the worker. */
import type { Sql } from '../../src/db/connect.ts';
import { createLlm } from '../../src/llm/create-llm.ts';
import type { LlmProviderConfig } from '../../src/llm/create-llm.ts';
import type { Llm } from '../../src/llm/llm.ts';
import { createLogger } from '../../src/log.ts';
import type { Logger } from '../../src/log.ts';
import { startAttempt } from './tenants.ts';
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
  const llm = createLlm({ provider, budgetSql: sql }).forAttempt({
    ...attempt,
    signal: controller.signal,
    log,
  });
  return { ...attempt, llm, controller };
}
