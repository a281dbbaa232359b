import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Database } from '../../src/db/database.ts';
import { terminateStuckSessions, terminateSessions } from '../../src/db/tenant-pool.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import { finishAttempts } from '../../src/jobs/attempts.ts';
import { addJobType, completed, eventually, runningJob } from '../jobs/job-steps.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';

let test: TestDatabase;
let database: Database;
beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ level: 'L3', tenantConnections: 2 });
  await addJobType(test.sql);
});
afterAll(() => test.close());

const asleep = (times: number) =>
  eventually('the sessions to sleep', async () => {
    const found = await test.sql`
      select from pg_stat_activity where application_name = 'nobody' and wait_event = 'PgSleep'`;
    return found.length === times ? true : undefined;
  });

it.each(['purser.commit_fence()', `purser.complete_attempt('{}')`])(
  'a session that holds its token by %s, without timeouts and under another name, is terminated and its attempt ends',
  async (hold) => {
    const { jobId, token } = await runningJob(test.sql, await addTenant(test.sql));
    const sleep = (what: string) =>
      tenantSql(database.tenant, { token })
        .unsafe(
          `set application_name = 'nobody'; set statement_timeout = 0;
           set client_connection_check_interval = 0; select ${what}, pg_sleep(600)`,
        )
        .catch((error: unknown) => error);
    const harmless = sleep('1');
    await asleep(1);
    const held = sleep(hold);
    await asleep(2);
    expect(await terminateSessions(test.sql, 'purser test role tenant')).toBe(0);
    expect(await terminateStuckSessions(test.sql, 600_000)).toBe(0);
    const finished = finishAttempts(test.sql, [{ jobId, token, end: completed }]);
    expect(await terminateStuckSessions(test.sql, 0)).toBe(1);
    expect(await held).toMatchObject({ code: 'database_unavailable' });
    expect((await finished).get(jobId)).toBe('applied');
    await terminateSessions(test.sql, 'nobody');
    await harmless;
  },
);
