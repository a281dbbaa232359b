/** Workers that share a database and a provider, each with the breakers of a process of its own. */
import { afterAll, beforeAll, beforeEach, expect } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import { createLlm } from '../../../src/llm/create-llm.ts';
import type { Clock } from '../../../src/llm/breaker/write-pace.ts';
import type { LlmCall, LlmReply } from '../../../src/llm/llm.ts';
import type { StreamReader } from '../../../src/llm/streams/exchange-stream.ts';
import { createMetrics } from '../../../src/metrics.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { silentLog } from '../../support/llm-attempt.ts';
import { startProvider } from '../../support/provider.ts';
import type { Scripted, TestProvider } from '../../support/provider.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';
import type { TestAttempt } from '../../support/tenants.ts';

/** Sleeps by moving itself. */
export class TestClock implements Clock {
  ms = 0;
  readonly slept: number[] = [];
  readonly now = (): number => this.ms;
  readonly sleep = async (ms: number): Promise<void> => {
    this.slept.push(ms);
    this.ms += ms;
  };
}

type Asked = Partial<LlmCall>;
const reader: StreamReader = { take: () => undefined, signal: new AbortController().signal };

export interface TestWorker {
  readonly clock: TestClock;
  readonly metrics: ReturnType<typeof createMetrics>;
  readonly call: (tenantId: string, asked?: Asked, attempt?: TestAttempt) => Promise<LlmReply>;
  readonly stream: (tenantId: string) => Promise<LlmReply>;
  readonly close: () => Promise<void>;
}

export interface Workers {
  readonly sql: Sql;
  readonly database: TestDatabase;
  readonly provider: TestProvider;
  readonly worker: (sql?: Sql, timeoutMs?: number) => TestWorker;
  readonly tenants: (count: number) => Promise<string[]>;
  /** Calls of each of them that the provider answers so; all end as errors with this code. */
  readonly failing: (
    one: TestWorker,
    tenantIds: readonly string[],
    fault: Scripted,
    code: string,
    asked?: Asked,
  ) => Promise<void>;
  readonly stateOf: (name: string) => Promise<string | undefined>;
  /** Until the breaker has this state, or none. */
  readonly untilState: (name: string, state: string | undefined) => Promise<void>;
  /** The pause of every open breaker, or the lease of its probe, has ended. */
  readonly endPauses: () => Promise<void>;
}

const question = { system: 'Be brief.', prompt: 'Well?', json: false, maxOutputTokens: 10 };

export function useWorkers(): Workers {
  let database: TestDatabase;
  let provider: TestProvider;
  beforeAll(async () => {
    database = await freshDatabase();
    provider = await startProvider();
    await database.sql`
      insert into llm_prices (model, input_usd_per_mtok, output_usd_per_mtok) values ('m', 1, 1), ('n', 1, 1)`;
  });
  beforeEach(async () => {
    const { sql } = database;
    await sql`delete from llm_breakers`;
    // Who called in an earlier test is no caller of this one.
    await sql`update llm_reservations set created_at = created_at - interval '1 day'`;
  });
  afterAll(async () => {
    await assertBooksRight(database.sql);
    await provider.stop();
    await database.close();
  });
  const stateOf = async (name: string): Promise<string | undefined> => {
    const [row] = await database.sql<{ state: string }[]>`
      select state from llm_breakers where kind || ':' || key = ${name}`;
    return row?.state;
  };
  return {
    get sql() {
      return database.sql;
    },
    get database() {
      return database;
    },
    get provider() {
      return provider;
    },
    worker: (sql = database.sql, timeoutMs = 5_000) => {
      const clock = new TestClock();
      const metrics = createMetrics();
      const gateway = createLlm({
        provider: { kind: 'openai', model: 'm', baseUrl: provider.url, timeoutMs },
        budgetSql: sql,
        metrics,
        clock,
      });
      const open = async (tenantId: string, attempt?: TestAttempt) =>
        gateway.forAttempt({
          ...(attempt ?? (await startAttempt(database.sql, tenantId))),
          signal: new AbortController().signal,
          log: silentLog,
        });
      return {
        clock,
        metrics,
        close: gateway.close,
        call: async (tenantId, asked = {}, attempt) =>
          (await open(tenantId, attempt)).call({ ...question, ...asked }),
        stream: async (tenantId) => (await open(tenantId)).stream(question, reader),
      };
    },
    tenants: (count) =>
      Promise.all(
        Array.from({ length: count }, () => addTenant(database.sql, { limitUsd: '100' })),
      ),
    failing: async (one, tenantIds, fault, code, asked) => {
      for (const tenantId of tenantIds) {
        provider.script(fault);
        await expect(one.call(tenantId, asked)).rejects.toMatchObject({ code });
      }
    },
    stateOf,
    untilState: async (name, state) => {
      await expect.poll(() => stateOf(name), { timeout: 20_000 }).toBe(state);
    },
    endPauses: async () => {
      await database.sql`
        update llm_breakers set until = clock_timestamp() - interval '1 ms' where state <> 'closed'`;
    },
  };
}
