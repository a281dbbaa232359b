/** A database without limits of the fleet before each test, and short forms of what the tests do with them. */
import { afterAll, afterEach, beforeAll } from 'vitest';
import { BudgetExceededError } from '../../../src/budget/budget-exceeded.ts';
import { setFleetScope } from '../../../src/budget/fleet/scopes.ts';
import type { SetFleetScopeRequest } from '../../../src/budget/fleet/scopes.ts';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';
import type { TestAttempt } from '../../support/tenants.ts';

/** The books are recomputed after each test. */
export function useFleet() {
  let database: TestDatabase;
  let wide: Sql;
  let locker: Sql;
  beforeAll(async () => {
    database = await freshDatabase();
    wide = connect(database.url, { max: 20, applicationName: 'purser test fleet' });
    locker = connect(database.url, { max: 1, applicationName: 'purser test locker' });
  });
  afterEach(async () => {
    const { sql } = database;
    await assertBooksRight(sql);
    await sql`delete from llm_scope_periods where fleet_period_id is not null`;
    await sql`delete from llm_fleet_periods`;
    await sql`delete from llm_fleet_scopes`;
  });
  afterAll(async () => {
    await wide.end({ timeout: 5 });
    await locker.end({ timeout: 5 });
    await database.close();
  });
  return {
    get sql(): Sql {
      return database.sql;
    },
    get url(): string {
      return database.url;
    },
    /** Of many connections. */
    get wide(): Sql {
      return wide;
    },
    /** Of one connection, for locks. */
    get locker(): Sql {
      return locker;
    },
    /** Of a provider by day unless `limits` says otherwise. */
    limit(limitUsd: string, limits: Partial<SetFleetScopeRequest> = {}) {
      const common = { kind: 'provider', period: 'day', hard: true, by: 'test' } as const;
      return setFleetScope(wide, { ...common, limitUsd, ...limits });
    },
    async tenants(count: number): Promise<TestAttempt[]> {
      const attempts: TestAttempt[] = [];
      for (let n = 0; n < count; n += 1) {
        const tenantId = await addTenant(database.sql, { limitUsd: '1000' });
        attempts.push(await startAttempt(database.sql, tenantId));
      }
      return attempts;
    },
  };
}

export async function refusal(run: Promise<unknown>): Promise<BudgetExceededError> {
  const error: unknown = await run.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof BudgetExceededError) return error;
  throw new Error(`expected a refusal, not ${String(error)}`);
}

/** Whether a reserve was admitted; throws what is no refusal of a budget. */
export async function admitted(run: Promise<unknown>): Promise<boolean> {
  try {
    await run;
    return true;
  } catch (error) {
    if (error instanceof BudgetExceededError) return false;
    throw error;
  }
}
