/** A database of the tests of dispatch: two job types, and nothing else at the start of each test. */
import { afterAll, afterEach, beforeAll } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import type { Database } from '../../../src/db/database.ts';
import type { DispatchedJob } from '../../../src/jobs/dispatch.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addJobType, begin, finish, step } from '../job-steps.ts';

export const other = 'test_other';

export interface DispatchDatabase {
  /** Of the login that migrates. */
  readonly sql: Sql;
  /** Several connections of a scheduler. */
  readonly system: Sql;
}

export function useDispatchDatabase(): DispatchDatabase {
  let test: TestDatabase;
  let database: Database;
  beforeAll(async () => {
    test = await freshDatabase();
    database = await test.open({ systemConnections: 6 });
    await addJobType(test.sql);
    await addJobType(test.sql, other);
  });
  afterEach(async () => {
    await test.sql`delete from job_limits`;
    await test.sql`delete from tenants`;
    await test.sql`delete from purser.rate_slots`;
    await test.sql`delete from purser.dispatch_turns`;
    await test.sql`delete from purser.group_seats`;
  });
  afterAll(() => test.close());
  return {
    get sql() {
      return test.sql;
    },
    get system() {
      return database.system;
    },
  };
}

interface Kind {
  readonly groups?: readonly string[];
  readonly jobType?: string;
  readonly priority?: number;
}

/** So many waiting jobs of each of the tenants, in each of the groups. */
export async function addWaiting(
  sql: Sql,
  ids: readonly string[],
  jobs: number,
  { groups = [''], jobType = step, priority = 0 }: Kind = {},
): Promise<void> {
  await sql`
    insert into tenants (id, plan) select unnest(${ids}::text[]), 'free' on conflict do nothing`;
  await sql`
    with made as (
      insert into jobs (tenant_id, job_type, max_attempts, priority, group_name)
      select t.id, ${jobType}, 3, ${priority}, g.name
      from unnest(${ids}::text[]) t (id), unnest(${groups}::text[]) g (name), generate_series(1, ${jobs}::int)
      returning id, tenant_id, group_name)
    insert into purser.waiting (job_id, tenant_id, job_type, group_name, priority, scheduled_for, give_up_at)
    select id, tenant_id, ${jobType}, group_name, ${priority}, now(), now() + interval '1 day' from made`;
}

export async function finishAll(sql: Sql, jobs: readonly DispatchedJob[]): Promise<void> {
  for (const job of jobs) await finish(sql, await begin(sql, job));
}
