/** At level L1, one plain login: operators' tables work for the system, and for no session without its mark. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { prepareDatabase } from '../../src/cli/runtime/prepare-database.ts';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { openDatabase } from '../../src/db/database.ts';
import type { Database } from '../../src/db/database.ts';
import { listEndRequests, requestCancel } from '../../src/jobs/cancel.ts';
import { listLogLines, storeLogLines } from '../../src/jobs/log-lines.ts';
import { listPauses, pauseWork, resumeWork } from '../../src/jobs/pauses.ts';
import { emptyDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import { addJob, addJobType, claim, runningJob, step } from './job-steps.ts';

let test: TestDatabase;
let database: Database;
let plain: Sql;
let tenantId: string;
beforeAll(async () => {
  test = await emptyDatabase('purser_plain');
  await prepareDatabase({ url: test.url });
  database = await openDatabase({
    url: test.url,
    applicationName: 'purser test level',
    systemConnections: 4,
    tenantConnections: 1,
  });
  plain = connect(test.url, { max: 1, applicationName: 'psql' });
  await addJobType(database.system);
  tenantId = await addTenant(database.system);
});
afterAll(async () => {
  await plain.end({ timeout: 5 });
  await database.close();
  await test.close();
});

it('a pause works and can be removed, and a session without the system marker can neither read nor add one', async () => {
  const { system } = database;
  expect(database.level).toBe('L1');
  const target = { scope: 'tenant', name: tenantId } as const;
  await addJob(system, tenantId);
  await pauseWork(system, { ...target, reason: 'unpaid', by: 'alice' });
  expect(await claim(system)).toEqual([]);
  expect(await listPauses(plain)).toEqual([]);
  await expect(
    plain`insert into pauses (scope, name, reason, by) values ('all', '', 'x', 'y')`,
  ).rejects.toThrow(/rls_enforcement_failed/);
  expect(await resumeWork(system, target)).toMatchObject({ by: 'alice' });
  expect(await claim(system)).toHaveLength(1);
});

it('requests to cancel and log lines are stored, and a session without the system marker can do neither', async () => {
  const { system } = database;
  const { jobId, token } = await runningJob(system, tenantId);
  const asked = await requestCancel(system, { jobId, by: 'alice', reason: 'wrong file' });
  expect(asked.outcome).toBe('requested');
  expect([...(await listEndRequests(system, [token])).keys()]).toEqual([token]);
  const lines = [{ at: new Date().toISOString(), level: 'info', text: step }];
  expect(await storeLogLines(system, [{ jobId, tenantId, attempt: 1, lines }])).toBe(1);
  expect(await listLogLines(system, jobId, 10)).toMatchObject([{ text: step }]);
  expect(await listLogLines(plain, jobId, 10)).toEqual([]);
});
