/** Clients that charge calls for some time, and what each step took them. */
import type { Sql } from '../../src/db/connect.ts';
import { newToken } from '../../src/jobs/attempts.ts';
import { insertAttempt } from '../../test/support/tenants.ts';
import type { TestAttempt } from '../../test/support/tenants.ts';
import type { Way } from './ways.ts';

/** Tenants with a running attempt each, and a period of this month. Ids start with `name`. */
export async function addAttempts(
  sql: Sql,
  {
    name,
    count,
    limitUsd,
  }: { readonly name: string; readonly count: number; readonly limitUsd: string },
): Promise<TestAttempt[]> {
  await sql`
    insert into tenants (id, plan, max_calls_per_minute, max_calls_in_flight)
    select ${name} || '-' || n, 'enterprise', 1000000, 1000000 from generate_series(1, ${count}::integer) n`;
  await sql`
    insert into llm_budgets (tenant_id, monthly_limit_usd, limit_source)
    select ${name} || '-' || n, ${limitUsd}::numeric, 'operator' from generate_series(1, ${count}::integer) n`;
  await sql`
    insert into llm_budget_periods (budget_id, period_start, tenant_id)
    select id, date_trunc('month', now() at time zone 'UTC')::date, tenant_id
    from llm_budgets where tenant_id like ${name} || '-%'`;
  const attempts = Array.from({ length: count }, (_, index) => {
    lastJobId += 1;
    const jobId = String(lastJobId);
    return { tenantId: `${name}-${index + 1}`, jobId, attempt: 1, token: newToken(jobId) };
  });
  await Promise.all(attempts.map((attempt) => insertAttempt(sql, attempt)));
  return attempts;
}

let lastJobId = 0;

export interface Took {
  /** In milliseconds, one per call. */
  readonly reserveMs: readonly number[];
  readonly settleMs: readonly number[];
  readonly seconds: number;
}

export interface Load {
  readonly sql: Sql;
  readonly attempts: readonly TestAttempt[];
  readonly clients: number;
  readonly seconds: number;
}

/** Calls one after another in each client, each of a random tenant. Throws when a budget refuses one. */
export async function charge(way: Way, { sql, attempts, clients, seconds }: Load): Promise<Took> {
  const took = { reserveMs: [] as number[], settleMs: [] as number[] };
  const startedMs = performance.now();
  const endsMs = startedMs + seconds * 1000;
  const client = async () => {
    while (performance.now() < endsMs) {
      const attempt = anyOf(attempts);
      const beforeMs = performance.now();
      const id = await way.reserve(sql, attempt);
      took.reserveMs.push(performance.now() - beforeMs);
      if (id === undefined) throw new Error(`${way.name}: the budget of the benchmark is used up`);
      await way.send(sql, id, attempt);
      const answeredMs = performance.now();
      await way.settle(sql, attempt, id);
      took.settleMs.push(performance.now() - answeredMs);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return { ...took, seconds: (performance.now() - startedMs) / 1000 };
}

/** The same for an operation of one step. */
export async function repeat(
  run: (sql: Sql, attempt: TestAttempt) => Promise<unknown>,
  { sql, attempts, clients, seconds }: Load,
): Promise<{ readonly tookMs: readonly number[]; readonly seconds: number }> {
  const tookMs: number[] = [];
  const startedMs = performance.now();
  const endsMs = startedMs + seconds * 1000;
  const client = async () => {
    while (performance.now() < endsMs) {
      const beforeMs = performance.now();
      await run(sql, anyOf(attempts));
      tookMs.push(performance.now() - beforeMs);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return { tookMs, seconds: (performance.now() - startedMs) / 1000 };
}

function anyOf(attempts: readonly TestAttempt[]): TestAttempt {
  const attempt = attempts[Math.floor(Math.random() * attempts.length)];
  if (attempt === undefined) throw new Error('there are no tenants');
  return attempt;
}
