/** A worker whose calls meet. */
import type { Charges } from '../../../src/budget/charges.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { codeOf } from '../../../src/errors.ts';
import { holdOf, untilWaiting } from '../../support/holds.ts';
import type { TestAttempt } from '../../support/tenants.ts';

interface TestWorker {
  readonly sql: Sql;
  /** The worker's own pool. */
  readonly wide: Sql;
  readonly charges: Charges;
}

/** Requests that are all waiting before the first is answered, as the first waits for the tenant's month. */
export async function together<T>(
  { sql, wide, charges }: TestWorker,
  attempt: TestAttempt,
  begin: () => readonly Promise<T>[],
): Promise<PromiseSettledResult<T>[]> {
  let first: Promise<unknown> = Promise.resolve();
  let all: Promise<PromiseSettledResult<T>[]> = Promise.resolve([]);
  await wide.begin(async (tx) => {
    await tx`select from llm_budget_periods where tenant_id = ${attempt.tenantId} for update`;
    first = charges.reserve(holdOf(attempt, '0.001'));
    await untilWaiting(sql, 1);
    all = Promise.allSettled(begin());
  });
  await first;
  return all;
}

export const outcomes = (
  settled: readonly PromiseSettledResult<unknown>[],
): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const one of settled) {
    const word = one.status === 'fulfilled' ? 'ok' : codeOf(one.reason);
    counts[word] = (counts[word] ?? 0) + 1;
  }
  return counts;
};
