/** A provider and a database for a test file, and attempts of tenants with an open LLM gateway, below the worker. */
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import type { Sql } from '../../src/db/connect.ts';
import { createLlm } from '../../src/llm/create-llm.ts';
import type { LlmGateway, LlmOptions, LlmProviderConfig } from '../../src/llm/create-llm.ts';
import { createHandlerLlm } from '../../src/llm/handler-llm.ts';
import type { LlmStreams } from '../../src/llm/handler-llm.ts';
import { leftStream } from '../../src/llm/llm.ts';
import type { Llm, LlmError } from '../../src/llm/llm.ts';
import type { StreamLlm } from '../../src/llm/streams/gateway.ts';
import { StreamWindow } from '../../src/llm/streams/window.ts';
import { createLogger } from '../../src/log.ts';
import type { Logger } from '../../src/log.ts';
import { freshDatabase } from './database.ts';
import type { TestDatabase } from './database.ts';
import { assertBooksRight } from './ledger.ts';
import { startProvider } from './provider.ts';
import type { TestProvider } from './provider.ts';
import type { WireProtocol } from './provider-protocols.ts';
import { addTenant, startAttempt } from './tenants.ts';
import type { TestAttempt } from './tenants.ts';

export interface LlmAttempt extends TestAttempt {
  readonly llm: Llm;
  readonly gateway: LlmGateway;
  readonly controller: AbortController;
}

export const silentLog: Logger = createLogger({ level: 'silent', role: 'test' });

export interface ProviderFixture {
  readonly database: TestDatabase;
  /** A new one for every test. */
  readonly provider: TestProvider;
}

/**
 * A database for the file with one priced model (USD per million tokens), a provider for each test, and after each
 * test the check that the ledger adds up.
 */
export function useProvider(
  options: {
    readonly apiKey?: string;
    readonly price?: { readonly model: string; readonly input: number; readonly output: number };
  } = {},
): ProviderFixture {
  let database: TestDatabase;
  let provider: TestProvider;
  beforeAll(async () => {
    database = await freshDatabase();
    if (options.price === undefined) return;
    const { model, input, output } = options.price;
    await database.sql`
      insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok)
      values (${model}, '2020-01-01', ${input}, ${output})`;
  });
  afterAll(() => database.close());
  beforeEach(async () => {
    provider = await startProvider(options.apiKey);
  });
  afterEach(async () => {
    await provider.stop();
    await assertBooksRight(database.sql);
  });
  return {
    get database() {
      return database;
    },
    get provider() {
      return provider;
    },
  };
}

export async function llmAttempt(
  sql: Sql,
  tenantId: string,
  provider: LlmProviderConfig,
  log: Logger = silentLog,
  options: Partial<LlmOptions> = {},
): Promise<LlmAttempt> {
  const attempt = await startAttempt(sql, tenantId);
  const controller = new AbortController();
  const gateway = createLlm({ provider, budgetSql: sql, ...options });
  const { call, stream } = gateway.forAttempt({ ...attempt, signal: controller.signal, log });
  const llm = createHandlerLlm(call, gateway.countAnswer, directStreams(stream));
  return { ...attempt, llm, gateway, controller };
}

/** Streams of a gateway in this thread. */
export const directStreams = (stream: StreamLlm): LlmStreams => ({
  open: (asked, onText) => {
    const window = new StreamWindow(onText);
    let left = (): void => {};
    const untilLeft = new Promise<never>((_, reject) => {
      left = () => reject(leftStream());
    });
    return {
      reply: Promise.race([stream(asked, window), untilLeft]),
      read: (length) => window.read(length),
      leave: () => {
        window.leave();
        left();
      },
    };
  },
  track: (run) => run(),
});

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
    select ${model}, '2020-01-01', 0, 1000
    where not exists (select from llm_prices where model = ${model})`;
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
